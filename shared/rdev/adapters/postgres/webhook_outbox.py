"""SQL of the outbox: what happened, and a delivery for each endpoint that is to hear of it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow

from rdev.adapters.postgres.webhooks import id_at
from rdev.domain.ids import new_id
from rdev.domain.webhook_bodies import body_of
from rdev.ports import tracing

# An id made as `domain.ids` makes them, for the moment that another id was made at.
_DELIVERY_ID = """
    'del-' || substr(%(at_id)s, 5, 12) || '7'
        || substr(replace(gen_random_uuid()::text, '-', ''), 14)
"""

# An event is kept also where its only takers are disabled: they can recover it.
_ADD = f"""
with takers as materialized (
    select e.id, e.disabled_at is null as enabled from webhook_endpoints e
    where e.deleted_at is null and %(type)s ~ e.events_pattern
        and case when %(project_id)s::text is null then '*' = any(e.projects)
            else %(project_id)s ~ e.projects_pattern end
), event as (
    insert into webhook_events (id, type, project_id, body, trace_context)
    select %(at_id)s, %(type)s, %(project_id)s, %(body)s, %(trace_context)s
    where exists (select from takers)
)
insert into webhook_deliveries (id, endpoint_id, event_id, type, project_id)
select {_DELIVERY_ID}, id, %(at_id)s, %(type)s, %(project_id)s from takers where enabled
"""  # noqa: S608 - constants

# The events that this endpoint takes, from `after` on; of those, what it was never told.
_RECOVER = f"""
with page as materialized (
    select v.id, v.type, v.project_id from webhook_events v, webhook_endpoints e
    where e.id = %(endpoint_id)s and v.id > %(after)s and v.type ~ e.events_pattern
        and case when v.project_id is null then '*' = any(e.projects)
            else v.project_id ~ e.projects_pattern end
    order by v.id limit %(limit)s
), again as (
    update webhook_deliveries d set state = 'pending', step = 0, trigger = 'manual',
        due_at = '-infinity', finished_at = null
    from page p
    where d.event_id = p.id and d.endpoint_id = %(endpoint_id)s and d.state = 'exhausted'
    returning d.id
), made as (
    insert into webhook_deliveries (id, endpoint_id, event_id, type, project_id, trigger)
    select {_DELIVERY_ID}, %(endpoint_id)s, p.id, p.type, p.project_id, 'manual' from page p
    where not exists (select from webhook_deliveries d
        where d.event_id = p.id and d.endpoint_id = %(endpoint_id)s)
    returning id
)
select (select max(id) from page) as last,
    (select count(*) from again) + (select count(*) from made) as recovered
"""  # noqa: S608 - constants


class OutboxRows:
    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._sql = connection
        self.wrote = False
        self.recovered = 0

    def add(
        self,
        type: str,  # noqa: A002 - the event's type
        data: Mapping[str, Any],
        *,
        project_id: str | None = None,
    ) -> int:
        event = {
            "at_id": new_id("evt"),
            "type": type,
            "project_id": project_id,
            "body": body_of(type, data, datetime.now(UTC)),
            "trace_context": tracing.context(),
        }
        deliveries = self._sql.execute(_ADD, event).rowcount
        self.wrote = self.wrote or deliveries > 0
        return deliveries

    def add_for(self, endpoint_id: str, type: str, data: Mapping[str, Any]) -> str:  # noqa: A002
        event_id, delivery_id = new_id("evt"), new_id("del")
        self._sql.execute(
            "insert into webhook_events (id, type, body, trace_context) values (%s, %s, %s, %s)",
            (event_id, type, body_of(type, data, datetime.now(UTC)), tracing.context()),
        )
        self._sql.execute(
            """
            insert into webhook_deliveries (id, endpoint_id, event_id, type, trigger)
            values (%s, %s, %s, %s, 'manual')
            """,
            (delivery_id, endpoint_id, event_id, type),
        )
        self.wrote = True
        return delivery_id

    def recover(self, endpoint_id: str, *, since: datetime, after: str, limit: int) -> str | None:
        row = self._sql.execute(
            _RECOVER,
            {
                "endpoint_id": endpoint_id,
                "after": max(after, id_at("evt", since)),
                "limit": limit,
                "at_id": new_id("evt"),
            },
        ).fetchone()
        assert row is not None
        self.recovered += row["recovered"]
        self.wrote = self.wrote or row["recovered"] > 0
        last: str | None = row["last"]
        return last

    def notice(self) -> None:
        self.wrote = True

    def cut(self, *, older_than_s: float, limit: int) -> int:
        """Remove what is older than this, and what is left of endpoints that were deleted: so
        many rows at most of each kind. How many it were."""
        bound = {"limit": limit, "older_than_s": older_than_s}
        done = 0
        for statement in _CUT:
            done += self._sql.execute(statement, bound).rowcount
        return done


_AGE = "now() - make_interval(secs => %(older_than_s)s)"
_MADE_BEFORE = f"lpad(to_hex((extract(epoch from {_AGE}) * 1000)::bigint), 12, '0')"
_CUT = (
    f"""
    with old as (
        select id from webhook_deliveries where id < 'del-' || {_MADE_BEFORE}
        order by id limit %(limit)s
    ), attempts as (delete from webhook_attempts where delivery_id in (select id from old))
    delete from webhook_deliveries where id in (select id from old)
    """,  # noqa: S608 - constants
    f"""
    delete from webhook_events where id in (
        select id from webhook_events where id < 'evt-' || {_MADE_BEFORE}
        order by id limit %(limit)s)
    """,  # noqa: S608 - constants
    """
    with old as (
        select d.id from webhook_endpoints e join webhook_deliveries d on d.endpoint_id = e.id
        where e.deleted_at is not null limit %(limit)s
    ), attempts as (delete from webhook_attempts where delivery_id in (select id from old))
    delete from webhook_deliveries where id in (select id from old)
    """,
    """
    delete from webhook_endpoints e where e.deleted_at < now() - interval '1 minute'
        and not exists (select from webhook_deliveries d where d.endpoint_id = e.id)
    """,
)
