"""SQL of webhook endpoints and their secrets. What they are told of is in `webhook_outbox`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from rdev.domain.webhooks import Disabled, Endpoint, Health, Secret, pattern_of

ENDPOINT = """e.id, e.url, e.description, e.events, e.projects, e.headers, e.max_concurrent,
    e.created_at, e.created_by, e.updated_at, e.paused, e.disabled_at, e.disabled_reason,
    e.failures, e.failing_since, e.slow, nullif(e.blocked_until, '-infinity') as blocked_until,
    e.last_success_at, e.last_failure_at"""


class EndpointRows:
    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._sql = connection

    def insert(self, endpoint: Endpoint, secret: str) -> None:
        self._sql.execute(
            """
            insert into webhook_endpoints (id, url, description, events, events_pattern, projects,
                projects_pattern, headers, max_concurrent, paused, created_at, created_by)
            values (%(id)s, %(url)s, %(description)s, %(events)s, %(events_pattern)s,
                %(projects)s, %(projects_pattern)s, %(headers)s, %(max_concurrent)s, %(paused)s,
                %(created_at)s, %(created_by)s)
            """,
            {
                **_asked(endpoint),
                "created_at": endpoint.created_at,
                "created_by": endpoint.created_by,
            },
        )
        self._insert_secret(endpoint.id, secret)

    def get(self, endpoint_id: str, *, lock: bool = False) -> Endpoint | None:
        row = self._sql.execute(
            f"""
            select {ENDPOINT} from webhook_endpoints e where e.id = %s and e.deleted_at is null
            {"for update" if lock else ""}
            """,  # noqa: S608 - constants
            (endpoint_id,),
        ).fetchone()
        return endpoint_of(row) if row else None

    def list(
        self, *, within: Collection[str] | None, before: str | None, limit: int
    ) -> Sequence[Endpoint]:
        """Newest first; `before` is the id to go on after."""
        rows = self._sql.execute(
            f"""
            select {ENDPOINT} from webhook_endpoints e
            where e.deleted_at is null
                and (%(before)s::text is null or e.id < %(before)s)
                and (%(within)s::text[] is null or e.projects <@ %(within)s)
            order by e.id desc limit %(limit)s
            """,  # noqa: S608 - a constant
            {"before": before, "limit": limit, "within": _list(within)},
        )
        return [endpoint_of(row) for row in rows]

    def update(self, endpoint: Endpoint) -> None:
        """Write down what its owners ask for, and how it fares."""
        self._sql.execute(
            """
            update webhook_endpoints set url = %(url)s, description = %(description)s,
                events = %(events)s, events_pattern = %(events_pattern)s,
                projects = %(projects)s, projects_pattern = %(projects_pattern)s,
                headers = %(headers)s, max_concurrent = %(max_concurrent)s, paused = %(paused)s,
                updated_at = clock_timestamp()
            where id = %(id)s
            """,
            _asked(endpoint),
        )
        self.fare({endpoint.id: endpoint.health})

    def delete(self, endpoint_id: str) -> bool:
        """Forget its secrets now; what else is left of it is cut by the sweep."""
        self._sql.execute("delete from webhook_secrets where endpoint_id = %s", (endpoint_id,))
        done = self._sql.execute(
            """
            update webhook_endpoints set deleted_at = clock_timestamp(), headers = '{}'
            where id = %s and deleted_at is null
            """,
            (endpoint_id,),
        )
        return done.rowcount == 1

    def secrets(self, endpoint_id: str) -> Sequence[Secret]:
        """Those that are good now, the current one first."""
        rows = self._sql.execute(
            """
            select secret, created_at, expires_at from webhook_secrets
            where endpoint_id = %s and (expires_at is null or expires_at > now())
            order by expires_at desc nulls first
            """,
            (endpoint_id,),
        )
        return [Secret(row["secret"], row["created_at"], row["expires_at"]) for row in rows]

    def rotate(self, endpoint_id: str, secret: str, *, overlap_s: float) -> None:
        """Make `secret` the current one; the one before goes on signing for `overlap_s`."""
        self._sql.execute(
            "delete from webhook_secrets where endpoint_id = %s and expires_at <= now()",
            (endpoint_id,),
        )
        self._sql.execute(
            """
            update webhook_secrets set expires_at = now() + make_interval(secs => %s)
            where endpoint_id = %s and expires_at is null
            """,
            (overlap_s, endpoint_id),
        )
        self._insert_secret(endpoint_id, secret)

    def lock_all(self, endpoint_ids: Collection[str]) -> Sequence[Endpoint]:
        """Those of them that are there, locked in one order."""
        rows = self._sql.execute(
            f"""
            select {ENDPOINT} from webhook_endpoints e
            where e.id = any(%s) and e.deleted_at is null order by e.id for update
            """,  # noqa: S608 - a constant
            (list(endpoint_ids),),
        )
        return [endpoint_of(row) for row in rows]

    def fare(self, healths: Mapping[str, Health]) -> None:
        """Write down how they fare. The caller has locked them."""
        with self._sql.cursor() as cursor:
            cursor.executemany(
                """
                update webhook_endpoints set failures = %s, failing_since = %s, slow = %s,
                    blocked_until = coalesce(%s::timestamptz, '-infinity'), last_success_at = %s,
                    last_failure_at = %s, disabled_at = %s, disabled_reason = %s
                where id = %s
                """,
                [
                    (
                        health.failures,
                        health.failing_since,
                        health.slow,
                        health.blocked_until,
                        health.last_success_at,
                        health.last_failure_at,
                        health.disabled_at,
                        health.disabled_reason,
                        endpoint_id,
                    )
                    for endpoint_id, health in healths.items()
                ],
            )

    def _insert_secret(self, endpoint_id: str, secret: str) -> None:
        self._sql.execute(
            """
            insert into webhook_secrets (endpoint_id, secret) values (%s, %s)
            on conflict (endpoint_id, secret) do update set expires_at = null
            """,
            (endpoint_id, secret),
        )


def _asked(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "description": endpoint.description,
        "events": list(endpoint.events),
        "events_pattern": pattern_of(endpoint.events),
        "projects": list(endpoint.projects),
        "projects_pattern": pattern_of(endpoint.projects),
        "headers": Jsonb(dict(endpoint.headers)),
        "max_concurrent": endpoint.max_concurrent,
        "paused": endpoint.paused,
    }


def endpoint_of(row: dict[str, Any]) -> Endpoint:
    return Endpoint(
        id=row["id"],
        url=row["url"],
        events=tuple(row["events"]),
        created_at=row["created_at"],
        created_by=row["created_by"],
        projects=tuple(row["projects"]),
        description=row["description"],
        headers=row["headers"],
        max_concurrent=row["max_concurrent"],
        paused=row["paused"],
        updated_at=row["updated_at"],
        health=Health(
            failures=row["failures"],
            failing_since=row["failing_since"],
            slow=row["slow"],
            blocked_until=row["blocked_until"],
            last_success_at=row["last_success_at"],
            last_failure_at=row["last_failure_at"],
            disabled_at=row["disabled_at"],
            disabled_reason=_reason(row["disabled_reason"]),
        ),
    )


def id_at(noun: str, moment: datetime) -> str:
    """A bound for ids: those made before the moment are below it, the others not."""
    return f"{noun}-{int(moment.timestamp() * 1000):012x}"


def _reason(stored: str | None) -> Disabled | None:
    return Disabled(stored) if stored else None


def _list(values: Collection[str] | None) -> Any:
    return None if values is None else [*values]
