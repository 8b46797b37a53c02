"""SQL of the queue: the row is the truth and the only lease.

A claim locks its key's turn first, so that the key's limit is counted by one claimer at a time,
and takes the key whose last turn is longest ago. Every later change names the epoch of its claim:
a runner that lost its lease changes nothing.
"""

from collections.abc import Sequence

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from rdev import failpoints
from rdev.adapters.postgres.commands import COLUMNS, command_of
from rdev.domain.commands import Claim, Command, Ending, Priority, Status, Stopping

_CLAIMED = f"{COLUMNS}, env, stdin, failures, stopping"

# Always `epoch = the claim's`; what chaos tests may put here shows that they would notice.
_OURS = "epoch >= 0 *" if failpoints.without("epoch") else "epoch ="

_ATTEMPTS = 3

# The projects in which no further command may start.
_FULL = """
full_projects (id) as (
    select p.id from projects p where p.max_concurrent <= (
        select count(*) from commands r where r.project_id = p.id and r.status = 'running')
)
"""

# Walks the distinct keys that wait by one index probe each, however long the queue is.
_NEXT_KEY = f"""
with recursive {_FULL}, waiting (key_id) as (
    (select key_id from commands where status = 'queued' and priority = %(priority)s
     order by key_id limit 1)
    union all
    select (select c.key_id from commands c where c.status = 'queued'
            and c.priority = %(priority)s and c.key_id > w.key_id order by c.key_id limit 1)
    from waiting w where w.key_id is not null
)
select t.key_id, coalesce(k.max_concurrent, %(max_concurrent)s) as max_concurrent
from waiting w
join queue_turns t on t.key_id = w.key_id
join keys k on k.id = w.key_id
where (select count(*) from commands r where r.key_id = w.key_id and r.status = 'running')
        < coalesce(k.max_concurrent, %(max_concurrent)s)
    and exists (select from commands c where c.status = 'queued' and c.priority = %(priority)s
        and c.key_id = w.key_id and c.not_before <= now()
        and c.project_id not in (select id from full_projects))
order by t.last_turn_at
limit 1
for update of t
"""  # noqa: S608 - constants

_TAKE = f"""
with {_FULL}, turn as (
    update queue_turns set last_turn_at = clock_timestamp() where key_id = %(key_id)s
)
update commands set status = 'running', epoch = epoch + 1, runner = %(runner)s,
    lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
where id = (
    select id from commands where status = 'queued' and priority = %(priority)s
        and key_id = %(key_id)s and not_before <= now()
        and project_id not in (select id from full_projects)
    order by id limit 1 for update skip locked
) and (select count(*) from commands r where r.key_id = %(key_id)s and r.status = 'running')
    < %(max_concurrent)s
returning {_CLAIMED}, 0.0::float as running_s
"""  # noqa: S608 - constants


class QueueRows:
    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._sql = connection

    def claim(
        self, priority: Priority, *, runner: str, lease_s: float, max_concurrent: int
    ) -> Claim | None:
        """The fairest command of this priority that may run now, or None.

        Turns that another claimer holds are passed over first and waited for only if nothing
        else is there: skipping them for good could leave a command waiting beside a free slot.
        """
        for _ in range(_ATTEMPTS):
            turn = self._next_turn(priority, max_concurrent)
            if turn is None:
                return None
            taken = {**turn, "priority": priority, "runner": runner, "lease_s": lease_s}
            row = self._sql.execute(_TAKE, taken).fetchone()
            if row is None:
                continue  # others were faster with this key; another may wait
            if not self._overfills(row["project_id"]):
                return _claim(row)
            # Undone by hand: a savepoint would cost every claim two round trips.
            self._sql.execute(
                """
                update commands set status = 'queued', epoch = epoch - 1, lease_until = null,
                    runner = null where id = %s
                """,
                (row["id"],),
            )
        return None

    def _next_turn(self, priority: Priority, max_concurrent: int) -> DictRow | None:
        parameters = {"priority": priority, "max_concurrent": max_concurrent}
        return (
            self._sql.execute(_NEXT_KEY + "skip locked", parameters).fetchone()
            or self._sql.execute(_NEXT_KEY, parameters).fetchone()
        )

    def _overfills(self, project_id: str) -> bool:
        """Whether another key's claimer, at the same time, took the project's last place."""
        project = self._sql.execute(
            """
            select max_concurrent from projects
            where id = %s and max_concurrent is not null for update
            """,
            (project_id,),
        ).fetchone()
        if project is None:
            return False
        running = self._sql.execute(
            "select count(*) as n from commands where project_id = %s and status = 'running'",
            (project_id,),
        ).fetchone()
        assert running is not None
        return bool(running["n"] > project["max_concurrent"])

    def overdue(self, older_than_s: float) -> list[Priority]:
        """The priorities below high in which a command has waited for longer than this."""
        rows = self._sql.execute(
            """
            select p.priority from (values ('low'), ('normal')) p (priority)
            where (select min(c.queued_at) from (
                select queued_at from commands where status = 'queued'
                    and priority = p.priority and not_before <= now() order by id limit 1
            ) c) < now() - make_interval(secs => %s)
            """,
            (older_than_s,),
        )
        return [Priority(row["priority"]) for row in rows]

    def take_over(self, *, runner: str, lease_s: float, limit: int) -> list[Claim]:
        """Claim commands whose lease is really over."""
        rows = self._sql.execute(
            f"""
            update commands set epoch = epoch + 1, runner = %(runner)s,
                lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
            where id in (
                select id from commands where status = 'running' and lease_until < now()
                order by lease_until limit %(limit)s for update skip locked
            )
            returning {_CLAIMED}, coalesce(
                extract(epoch from clock_timestamp() - started_at), 0)::float as running_s
            """,  # noqa: S608 - constants
            {"runner": runner, "lease_s": lease_s, "limit": limit},
        )
        return [_claim(row) for row in rows]

    def renew(self, held: Sequence[tuple[str, int]], *, lease_s: float) -> dict[str, bool]:
        """Renew what is still held. Command id -> whether its cancel was asked for; a command
        that is missing in the answer belongs to somebody else now."""
        rows = self._sql.execute(
            f"""
            update commands c
            set lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
            from unnest(%(ids)s::text[], %(epochs)s::bigint[]) held (id, epoch)
            where c.id = held.id and c.{_OURS} held.epoch and c.status = 'running'
            returning c.id, c.cancel_requested_at is not null as cancel
            """,  # noqa: S608 - constants
            {
                "lease_s": lease_s,
                "ids": [command_id for command_id, _ in held],
                "epochs": [epoch for _, epoch in held],
            },
        )
        return {row["id"]: row["cancel"] for row in rows}

    def release(self, held: Sequence[tuple[str, int]]) -> None:
        """Give leases back, so that another runner need not wait for their end."""
        self._sql.execute(
            f"""
            update commands c set lease_until = '-infinity'
            from unnest(%(ids)s::text[], %(epochs)s::bigint[]) held (id, epoch)
            where c.id = held.id and c.{_OURS} held.epoch and c.status = 'running'
            """,  # noqa: S608 - constants
            {"ids": [i for i, _ in held], "epochs": [e for _, e in held]},
        )

    def started(self, command_id: str, epoch: int) -> bool:
        """Record the start. Not worth an fsync: the workspace's own files say the same."""
        self._sql.execute("set local synchronous_commit = off")
        done = self._sql.execute(
            f"""
            update commands set started_at = coalesce(started_at, clock_timestamp())
            where id = %s and {_OURS} %s and status = 'running'
            """,  # noqa: S608 - constants
            (command_id, epoch),
        )
        return done.rowcount == 1

    def stopping(self, command_id: str, epoch: int, stop: Stopping) -> bool:
        """Record that rdev is about to end a command, and why: before the first signal, so that
        whoever takes over knows. False: the lease is lost."""
        done = self._sql.execute(
            f"""
            update commands set stopping = coalesce(stopping, %s)
            where id = %s and {_OURS} %s and status = 'running'
            """,  # noqa: S608 - constants
            (Jsonb({"status": stop.status, "reason": stop.reason}), command_id, epoch),
        )
        return done.rowcount == 1

    def requeue(self, command_id: str, epoch: int, *, delay_s: float) -> int | None:
        """Put back what certainly has not started: whatever is queued can be closed without
        asking its workspace. How often that has happened; None: lease lost, or its cancel was
        asked for meanwhile."""
        row = self._sql.execute(
            f"""
            update commands set status = 'queued', failures = failures + 1, lease_until = null,
                not_before = clock_timestamp() + make_interval(secs => %s)
            where id = %s and {_OURS} %s and status = 'running' and started_at is null
                and cancel_requested_at is null
            returning failures
            """,  # noqa: S608 - constants
            (delay_s, command_id, epoch),
        ).fetchone()
        return int(row["failures"]) if row else None

    def finish(self, command_id: str, epoch: int, ending: Ending) -> Command | None:
        """Close the record. None where the lease is lost or the record is closed already."""
        row = self._sql.execute(
            f"""
            update commands set status = %(status)s, exit_code = %(exit_code)s,
                signal = %(signal)s, reason = %(reason)s, truncated = %(truncated)s,
                stdout_bytes = %(stdout_bytes)s, stderr_bytes = %(stderr_bytes)s,
                stdout_sha256 = %(stdout_sha256)s, stderr_sha256 = %(stderr_sha256)s,
                usage = %(usage)s, finished_at = clock_timestamp(), lease_until = null,
                started_at = case when %(ran)s then coalesce(started_at, clock_timestamp()) end,
                env = '{{}}', stdin = ''
            where id = %(id)s and {_OURS} %(epoch)s and status = 'running'
            returning {COLUMNS}
            """,  # noqa: S608 - constants
            {
                "id": command_id,
                "epoch": epoch,
                "status": ending.status,
                "exit_code": ending.exit_code,
                "signal": ending.signal,
                "reason": ending.reason,
                "truncated": ending.truncated,
                "stdout_bytes": ending.output.stdout,
                "stderr_bytes": ending.output.stderr,
                "stdout_sha256": ending.stdout_sha256,
                "stderr_sha256": ending.stderr_sha256,
                "usage": Jsonb(dict(ending.usage)),
                "ran": ending.ran,
            },
        ).fetchone()
        return command_of(row) if row else None

    def expire_waiting(self) -> list[Command]:
        """Fail what has waited for longer than its `queue_timeout_s`."""
        rows = self._sql.execute(
            f"""
            update commands set status = 'failed', reason = 'queue_timeout',
                finished_at = clock_timestamp(), epoch = epoch + 1, env = '{{}}', stdin = ''
            where status = 'queued' and queue_timeout_s is not null
                and queued_at + make_interval(secs => queue_timeout_s) < now()
            returning {COLUMNS}
            """  # noqa: S608 - constants
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
                and finished_at < now() - make_interval(secs => %s)
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
        """Drop Idempotency-Keys that are older than 24 h."""
        self._sql.execute(
            "delete from idempotency_keys where created_at < now() - interval '24 hours'"
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


def _claim(row: DictRow) -> Claim:
    return Claim(
        command=command_of(row),
        env=row["env"],
        stdin=bytes(row["stdin"]),
        failures=row["failures"],
        running_s=row["running_s"],
        stopping=_stopping(row["stopping"]),
    )


def _stopping(stored: dict[str, str] | None) -> Stopping | None:
    return Stopping(Status(stored["status"]), stored["reason"]) if stored else None
