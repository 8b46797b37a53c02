"""SQL of the sweep: what waits too long, what was closed and not seen off, how the queue stands.
None of it needs a lease."""

import psycopg
from psycopg.rows import DictRow

from rdev.adapters.postgres.clock import AHEAD
from rdev.adapters.postgres.commands import COLUMNS, command_of
from rdev.domain.commands import Command, Priority
from rdev.domain.sweeps import LastSweep

_AT_ONCE = 500
"""Rows changed by one statement: a backlog must not outlast its time limit."""


class SweepRows:
    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._sql = connection

    def rebase_waiting(self) -> None:
        """Have what waits go by the clock as it is now: after it was set back, nothing waits
        until it has caught up."""
        self._sql.execute(
            f"""
            update commands set not_before = least(not_before, clock_timestamp()),
                queued_at = least(queued_at, clock_timestamp()),
                waiting_since = least(waiting_since, clock_timestamp())
            where id in (
                select id from commands where status = 'queued'
                    and greatest(not_before, queued_at, waiting_since) > {AHEAD}
                limit %s for update skip locked
            )
            """,  # noqa: S608 - a constant
            (_AT_ONCE,),
        )
        self._sql.execute(
            f"""
            update projects set used_at = least(used_at, clock_timestamp()), claim_after = null
            where id in (
                select id from projects where claim_after > {AHEAD} or used_at > {AHEAD}
                limit %s for update skip locked
            )
            """,  # noqa: S608 - a constant
            (_AT_ONCE,),
        )

    def expire_waiting(self) -> list[Command]:
        """Fail some of what has waited for longer than its `queue_timeout_s`."""
        rows = self._sql.execute(
            f"""
            update commands set status = 'failed', reason = 'queue_timeout',
                finished_at = clock_timestamp(), epoch = epoch + 1, env = '{{}}', stdin = ''
            where id in (
                select id from commands where status = 'queued' and queue_timeout_s is not null
                    and queued_at + make_interval(secs => queue_timeout_s) < now()
                limit %s for update skip locked
            )
            returning {COLUMNS}
            """,  # noqa: S608 - a constant
            (_AT_ONCE,),
        )
        return [command_of(row) for row in rows]

    def unannounced(self, *, older_than_s: float, limit: int) -> list[Command]:
        """Closed records that were not seen off, as far as is known: `command.finished` published
        and the workspace cleaned up. In any order, so that some that cannot be do not stand in
        the way of others."""
        rows = self._sql.execute(
            f"""
            select {COLUMNS} from commands
            where not announced and status not in ('queued', 'running')
                and (finished_at < now() - make_interval(secs => %s) or finished_at > {AHEAD})
            order by random() limit %s
            """,  # noqa: S608 - constants
            (older_than_s, limit),
        )
        return [command_of(row) for row in rows]

    def mark_announced(self, command_id: str) -> None:
        self._sql.execute("set local synchronous_commit = off")
        self._sql.execute("update commands set announced = true where id = %s", (command_id,))

    def oldest_waiting(self) -> list[tuple[Priority, str]]:
        """By priority, if there is one: the command that waits longest and may be claimed."""
        rows = self._sql.execute(
            """
            select p.priority, c.id from (values ('high'), ('normal'), ('low')) p (priority)
            cross join lateral (
                select id from commands where status = 'queued' and priority = p.priority
                    and not_before <= now() order by id limit 1
            ) c
            """
        )
        return [(Priority(row["priority"]), row["id"]) for row in rows]

    def forget_requests(self) -> None:
        """Drop Idempotency-Keys that are older than 24 h, some at a time."""
        self._sql.execute(
            """
            delete from idempotency_keys where ctid = any(array(
                select ctid from idempotency_keys
                where created_at < now() - interval '24 hours' limit 20000))
            """
        )

    def depth(self) -> list[dict[str, object]]:
        """By priority: how many wait, since how many seconds the oldest, how many run."""
        rows = self._sql.execute(
            """
            select p.priority,
                count(c.id) filter (where c.status = 'queued') as waiting,
                coalesce(extract(epoch from now() - min(c.queued_at)
                    filter (where c.status = 'queued')), 0)::float as oldest_s,
                count(c.id) filter (where c.status = 'running') as running
            from (values (1, 'high'), (2, 'normal'), (3, 'low')) p (n, priority)
            left join commands c on c.priority = p.priority and c.status in ('queued', 'running')
            group by p.n, p.priority order by p.n
            """
        )
        return [dict(row) for row in rows]

    def note_sweep(self, problem: str) -> None:
        """A sweep is over; `problem` says why not every step of it was done, empty: all were. Not
        worth an fsync: the next one says it again."""
        self._sql.execute("set local synchronous_commit = off")
        self._sql.execute(
            """
            insert into sweeps as s (tried_at, completed_at, problem)
            values (now(), case when %(problem)s = '' then now() end, %(problem)s)
            on conflict (one) do update set tried_at = excluded.tried_at,
                completed_at = coalesce(excluded.completed_at, s.completed_at),
                problem = excluded.problem
            """,
            {"problem": problem},
        )

    def last_sweep(self) -> LastSweep | None:
        """By anybody, as far as this database knows; None: never."""
        row = self._sql.execute(
            """
            select extract(epoch from now() - tried_at)::float as tried_s,
                extract(epoch from now() - completed_at)::float as completed_s,
                problem from sweeps
            """
        ).fetchone()
        if row is None:
            return None
        completed_s = row["completed_s"]
        return LastSweep(
            max(0.0, row["tried_s"]),
            None if completed_s is None else max(0.0, completed_s),
            row["problem"],
        )
