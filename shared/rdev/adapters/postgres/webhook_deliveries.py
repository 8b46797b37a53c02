"""SQL of deliveries on their way: claims, leases, and what became of each attempt.

An endpoint's row is locked by whoever claims for it, so that its limit is counted once; the
delivery's row is the lease, and every change of its state names the epoch of its claim."""

import base64
from collections.abc import Sequence

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Json

from rdev.adapters.postgres.clock import AHEAD
from rdev.adapters.postgres.webhooks import ENDPOINT, endpoint_of
from rdev.domain.delivering import Plan
from rdev.domain.webhooks import Attempt, Claim, Trigger

# One at a time while it fails: the first of them tells whether the others have a chance.
_ROOM = """
case when e.failures > 0 then 1 else e.max_concurrent end - (
    select count(*) from webhook_deliveries r
    where r.endpoint_id = e.id and r.lease_until > clock_timestamp())
"""
_SENDABLE = """
e.deleted_at is null and e.disabled_at is null and not e.paused
"""
_DUE = """
d.endpoint_id = e.id and d.state = 'pending' and d.due_at <= clock_timestamp()
    and (d.lease_until is null or d.lease_until <= clock_timestamp())
"""

_TURNS = f"""
select e.id from webhook_endpoints e
where {_SENDABLE} and e.blocked_until <= clock_timestamp()
    and exists (select from webhook_deliveries d where {_DUE}) and {_ROOM} > 0
order by e.last_turn_at limit %(limit)s
for update of e
"""  # noqa: S608 - constants

# By a statement of its own, behind the locks: its snapshot sees whatever others have claimed.
# An endpoint's first comes before another's second, and those that struggle share what they may.
_TAKE = f"""
with due as (
    select d.id, d.lease_until is not null as interrupted, e.last_turn_at,
        e.failures > 0 or e.slow as struggles,
        row_number() over (partition by e.id order by d.due_at, d.id) as place
    from webhook_endpoints e cross join lateral (
        select d.id, d.due_at, d.lease_until from webhook_deliveries d
        where {_DUE} order by d.due_at, d.id limit greatest(0, least(%(limit)s, {_ROOM}))
        for update skip locked
    ) d
    where e.id = any(%(endpoints)s)
), ranked as (
    select *, row_number() over (partition by struggles order by place, last_turn_at) as n from due
), taken as (
    select id, interrupted from ranked where not struggles or n <= %(struggling)s
    order by place, last_turn_at limit %(limit)s
), interrupted as (
    insert into webhook_attempts (delivery_id, number, trigger, error, message)
    select d.id, d.attempts, d.trigger, 'interrupted', 'Its sender died while it was made.'
    from taken t join webhook_deliveries d on d.id = t.id where t.interrupted
    on conflict do nothing
), claimed as (
    update webhook_deliveries d set epoch = d.epoch + 1, attempts = d.attempts + 1,
        lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
    from taken t where d.id = t.id
    returning d.id, d.endpoint_id, d.event_id, d.epoch, d.attempts, d.step, d.trigger
), turns as (
    update webhook_endpoints set last_turn_at = clock_timestamp()
    where id in (select endpoint_id from claimed)
)
select c.id as delivery_id, c.endpoint_id, c.epoch, c.attempts, c.step, c.trigger, c.event_id,
    v.body, v.trace_context
from claimed c join webhook_events v on v.id = c.event_id order by c.id
"""  # noqa: S608 - constants

_ENDPOINTS = f"""
select {ENDPOINT}, array(
    select s.secret from webhook_secrets s
    where s.endpoint_id = e.id and (s.expires_at is null or s.expires_at > now())
    order by s.expires_at desc nulls first) as secrets
from webhook_endpoints e where e.id = any(%s)
"""  # noqa: S608 - a constant

# The whole batch by one statement and as one parameter: a round trip a delivery, or psycopg's care
# for each value, would cost more than sending it.
_RECORD_ALL = """
with made as (
    select * from json_to_recordset(%(made)s) made (id text, epoch bigint, number integer,
        state text, step integer, delay_s float, trigger text, url text, began_at timestamptz,
        duration_ms integer, status integer, error text, message text, address text,
        request_headers jsonb, response_headers jsonb, response_body text)
), ours as (
    update webhook_deliveries d set state = m.state, step = m.step, lease_until = null,
        trigger = 'scheduled', last_status = m.status, last_error = m.error,
        due_at = clock_timestamp() + make_interval(secs => m.delay_s),
        finished_at = case when m.state = 'pending' then null else clock_timestamp() end
    from made m
    where d.id = m.id and d.epoch = m.epoch and d.state = 'pending' and d.lease_until is not null
    returning d.id
), attempts as (
    insert into webhook_attempts (delivery_id, number, trigger, url, began_at, duration_ms,
        status, error, message, address, request_headers, response_headers, response_body)
    select m.id, m.number, m.trigger, m.url, m.began_at, m.duration_ms, m.status, m.error,
        m.message, m.address, m.request_headers, m.response_headers,
        decode(m.response_body, 'base64')
    from made m join ours on ours.id = m.id
    on conflict do nothing
)
select id from ours
"""

_NEXT = f"""
select extract(epoch from min(next.at) - clock_timestamp())::float as seconds from (
    select greatest(e.blocked_until, (
        select d.due_at from webhook_deliveries d
        where d.endpoint_id = e.id and d.state = 'pending' and d.lease_until is null
        order by d.due_at limit 1)) as at
    from webhook_endpoints e
    where {_SENDABLE} and exists (
        select from webhook_deliveries d where d.endpoint_id = e.id and d.state = 'pending'
            and d.lease_until is null) and {_ROOM} > 0
    union all
    select min(d.lease_until) from webhook_deliveries d where d.lease_until is not null
) next
"""  # noqa: S608 - constants


# An endpoint whose last turn lies ahead had it before the database's clock was set back: by at
# least that much are the times ahead that were planned in that turn and since.
_REBASE = f"""
with ahead as (
    select id, last_turn_at - clock_timestamp() as by from webhook_endpoints
    where last_turn_at > {AHEAD} order by id limit %s for update skip locked
), moved as (
    update webhook_deliveries d set due_at = d.due_at - a.by,
        lease_until = d.lease_until - case when d.lease_until > {AHEAD} then a.by else '0' end
    from ahead a
    where d.endpoint_id = a.id and d.state = 'pending'
        and (d.due_at > clock_timestamp() or d.lease_until > {AHEAD})
)
update webhook_endpoints e
set last_turn_at = clock_timestamp(), blocked_until = e.blocked_until - a.by
from ahead a where e.id = a.id
"""  # noqa: S608 - constants
_REBASED_AT_ONCE = 100


class DeliveryRows:
    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._sql = connection

    def claim(self, *, limit: int, struggling: int, lease_s: float) -> list[Claim]:
        """Up to `limit` of what is due, endpoints in turn; `struggling` of it at most for those
        that fail or are slow. No endpoint gets more at once than it allows, whoever sends.

        Turns that another claimer holds are passed over first, and one is waited for only if
        nothing else is there. Not worth an fsync: what is lost is claimed again."""
        self._sql.execute("set local synchronous_commit = off")
        turns = self._turns("skip locked", limit) or self._turns("", 1)
        if not turns:
            return []
        asked = {"limit": limit, "struggling": struggling, "lease_s": lease_s, "endpoints": turns}
        rows = self._sql.execute(_TAKE, asked).fetchall()
        return self._claims(rows) if rows else []

    def _turns(self, how: str, limit: int) -> list[str]:
        return [row["id"] for row in self._sql.execute(_TURNS + how, {"limit": limit})]

    def _claims(self, rows: Sequence[DictRow]) -> list[Claim]:
        ids = list({row["endpoint_id"] for row in rows})
        found = self._sql.execute(_ENDPOINTS, (ids,)).fetchall()
        endpoints = {row["id"]: (endpoint_of(row), tuple(row["secrets"])) for row in found}
        return [
            Claim(
                delivery_id=row["delivery_id"],
                epoch=row["epoch"],
                number=row["attempts"],
                step=row["step"],
                trigger=Trigger(row["trigger"]),
                event_id=row["event_id"],
                body=bytes(row["body"]),
                endpoint=endpoints[row["endpoint_id"]][0],
                secrets=endpoints[row["endpoint_id"]][1],
                trace_context=row["trace_context"],
            )
            for row in rows
        ]

    def renew(self, held: Sequence[tuple[str, int]], *, lease_s: float) -> set[str]:
        """Renew what is still held; what is missing in the answer is somebody else's now."""
        self._sql.execute("set local synchronous_commit = off")
        rows = self._sql.execute(
            """
            update webhook_deliveries d
            set lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
            from unnest(%(ids)s::text[], %(epochs)s::bigint[]) held (id, epoch)
            where d.id = held.id and d.epoch = held.epoch and d.lease_until is not null
            returning d.id
            """,
            {"lease_s": lease_s, "ids": [i for i, _ in held], "epochs": [e for _, e in held]},
        )
        return {row["id"] for row in rows}

    def release(self, held: Sequence[tuple[str, int]]) -> None:
        """Give back what was not sent: no attempt was made."""
        self._sql.execute(
            """
            update webhook_deliveries d set lease_until = null, attempts = d.attempts - 1
            from unnest(%(ids)s::text[], %(epochs)s::bigint[]) held (id, epoch)
            where d.id = held.id and d.epoch = held.epoch and d.lease_until is not null
            """,
            {"ids": [i for i, _ in held], "epochs": [e for _, e in held]},
        )

    def record(self, made: Sequence[tuple[Claim, Attempt, Plan]]) -> set[str]:
        """Write down attempts and what follows for their deliveries, where the claim still holds.
        Not worth an fsync: what is lost is sent again, under the same id."""
        self._sql.execute("set local synchronous_commit = off")
        rows = Json([_row(*each) for each in made])
        return {row["id"] for row in self._sql.execute(_RECORD_ALL, {"made": rows})}

    def rebase(self) -> None:
        """Have what waits go by the clock as it is now: after it was set back, nothing waits
        until it has caught up."""
        self._sql.execute(_REBASE, (_REBASED_AT_ONCE,))

    def next_due_s(self) -> float | None:
        """In how many seconds there may be something to claim; None: nothing waits."""
        row = self._sql.execute(_NEXT).fetchone()
        assert row is not None
        seconds: float | None = row["seconds"]
        return seconds


def _row(claim: Claim, attempt: Attempt, plan: Plan) -> dict[str, object]:
    outcome = attempt.outcome
    assert outcome is not None
    return {
        "id": claim.delivery_id,
        "epoch": claim.epoch,
        "number": attempt.number,
        "state": plan.state.value,
        "step": plan.step,
        "delay_s": plan.delay_s,
        "trigger": attempt.trigger.value,
        "url": attempt.url,
        "began_at": attempt.began_at.isoformat() if attempt.began_at else None,
        "duration_ms": outcome.duration_ms,
        "status": outcome.status,
        "error": outcome.error,
        "message": _storable(outcome.message),
        "address": outcome.address,
        "request_headers": dict(attempt.request_headers),
        "response_headers": {_storable(k): _storable(v) for k, v in outcome.headers.items()},
        "response_body": base64.b64encode(outcome.body).decode(),
    }


def _storable(text: str) -> str:
    """What a receiver said, without what Postgres takes in no text."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
