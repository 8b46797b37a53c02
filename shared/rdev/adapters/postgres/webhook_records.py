"""SQL of deliveries and their attempts as they are shown. Sending them is in
`webhook_deliveries`."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow

from rdev.adapters.postgres.webhooks import id_at
from rdev.domain.attempts import Outcome
from rdev.domain.webhooks import Attempt, Delivery, State, Trigger

_COLUMNS = """d.id, d.endpoint_id, d.event_id, d.type, d.project_id, d.state, d.attempts,
    d.created_at, d.finished_at, d.last_status, d.last_error,
    greatest(nullif(d.due_at, '-infinity'), d.created_at) as due_at,
    d.lease_until is not null as sending"""


class DeliveryRecordRows:
    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._sql = connection

    def get(self, delivery_id: str) -> Delivery | None:
        row = self._sql.execute(
            f"select {_COLUMNS} from webhook_deliveries d where d.id = %s",  # noqa: S608
            (delivery_id,),
        ).fetchone()
        return _delivery(row) if row else None

    def list(
        self,
        *,
        within: Collection[str] | None,
        before: str | None,
        limit: int,
        endpoint_id: str | None = None,
        state: State | None = None,
        type: str | None = None,  # noqa: A002 - the event's type
        since: datetime | None = None,
    ) -> Sequence[Delivery]:
        """Newest first; `before` is the id to go on after. `since` by the ids, which sort by
        time: so the end of what is asked for is the end of the search."""
        asked: dict[str, Any] = {
            "within": None if within is None else [*within],
            "before": before,
            "limit": limit,
            "endpoint_id": endpoint_id,
            "state": state,
            "type": type,
            "since": id_at("del", since) if since else None,
        }
        # Only what is asked for: a parameter that may be null keeps a partial index from use.
        conditions = {
            "before": "d.id < %(before)s",
            "endpoint_id": "d.endpoint_id = %(endpoint_id)s",
            "type": "d.type = %(type)s",
            "since": "d.id >= %(since)s",
            "within": "e.projects <@ %(within)s",
        }
        wanted = [text for name, text in conditions.items() if asked[name] is not None]
        if state is not None:
            wanted.append(f"d.state = '{State(state).value}'")
        rows = self._sql.execute(
            f"""
            select {_COLUMNS} from webhook_deliveries d
            join webhook_endpoints e on e.id = d.endpoint_id and e.deleted_at is null
            where {" and ".join(["true", *wanted])}
            order by d.id desc limit %(limit)s
            """,  # noqa: S608 - constants
            asked,
        )
        return [_delivery(row) for row in rows]

    def attempts(self, delivery_id: str) -> Sequence[Attempt]:
        rows = self._sql.execute(
            "select * from webhook_attempts where delivery_id = %s order by number",
            (delivery_id,),
        )
        return [_attempt(row) for row in rows]

    def body(self, event_id: str) -> bytes | None:
        row = self._sql.execute(
            "select body from webhook_events where id = %s", (event_id,)
        ).fetchone()
        return bytes(row["body"]) if row else None

    def again(self, delivery_id: str) -> None:
        """Deliver it now, whatever became of it; by a new run of the schedule where it had ended.
        One that is being sent at this moment is left to that."""
        self._sql.execute(
            """
            update webhook_deliveries set trigger = 'manual', due_at = '-infinity',
                step = case when state = 'pending' then step else 0 end,
                state = 'pending', finished_at = null
            where id = %s and lease_until is null
            """,
            (delivery_id,),
        )


def _delivery(row: dict[str, Any]) -> Delivery:
    state = State(row["state"])
    return Delivery(
        id=row["id"],
        endpoint_id=row["endpoint_id"],
        event_id=row["event_id"],
        type=row["type"],
        project_id=row["project_id"],
        state=state,
        attempts=row["attempts"],
        created_at=row["created_at"],
        due_at=row["due_at"] if state is State.PENDING else None,
        finished_at=row["finished_at"],
        last_status=row["last_status"],
        last_error=row["last_error"],
        sending=row["sending"],
    )


def _attempt(row: dict[str, Any]) -> Attempt:
    interrupted = row["error"] == "interrupted"
    return Attempt(
        number=row["number"],
        trigger=Trigger(row["trigger"]),
        url=row["url"],
        began_at=row["began_at"],
        request_headers=row["request_headers"],
        outcome=None
        if interrupted
        else Outcome(
            status=row["status"],
            error=row["error"],
            message=row["message"],
            address=row["address"],
            duration_ms=row["duration_ms"],
            headers=row["response_headers"],
            body=bytes(row["response_body"]),
            retry_after_s=None,
        ),
    )
