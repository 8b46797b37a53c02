"""SQL of leases: taken over, renewed, given back, and everything that only a lease's holder may
change of a row. All of it names the epoch of the claim, and does nothing where that is no longer
the row's. Times are the database's own: no two machines need agree on one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from rdev import failpoints
from rdev.adapters.postgres.commands import COLUMNS, command_of
from rdev.domain.commands import Claim, Command, Ending, Outage, Status, Stopping, one_line

CLAIMED = f"""{COLUMNS}, env, stdin, failures, stopping, waits, waited_s,
    queued_at + make_interval(secs => queue_timeout_s) < clock_timestamp() as queue_timed_out"""

# Always `epoch = the claim's`; what chaos tests may put here shows that they would notice.
_OURS = "epoch >= 0 *" if failpoints.without("epoch") else "epoch ="

# As `held` tells it, unless the row has it already: an earlier runner saw it.
_FIRST_OUTPUT = """coalesce(c.first_output_at,
    clock_timestamp() - make_interval(secs => held.first_output_s))"""
_NONE_YET: Mapping[str, float] = {}
_NO_OUTAGES: Mapping[str, Outage] = {}

_NO_LEASE_IS_LONGER_S = 300.0
"""Or ten times our own: what ends later than that was given before the database's clock was set
back, and would otherwise hold until it has caught up."""

# Or cannot be true.
LEASE_IS_OVER = """status = 'running' and (lease_until < now()
    or lease_until > now() + make_interval(secs => %(longest_s)s))"""


def longest_s(lease_s: float) -> float:
    return max(_NO_LEASE_IS_LONGER_S, 10 * lease_s)


class LeaseRows:
    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._sql = connection

    def take_over(
        self, *, runner: str, lease_s: float, limit: int, boot_id: str | None = None
    ) -> list[Claim]:
        """Claim commands whose lease is really over, or cannot be true. `boot_id` as in `claim`:
        of what was claimed without one, as by the version before."""
        rows = self._sql.execute(
            f"""
            update commands set epoch = epoch + 1, runner = %(runner)s,
                lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s),
                boot_id = coalesce(boot_id, %(boot_id)s), down_s = 0, failing_s = 0
            from (
                select id as taken_id, lease_until = '-infinity' as handed_over,
                    down_s as was_down_s, failing_s as was_failing_s
                from commands where {LEASE_IS_OVER}
                order by lease_until limit %(limit)s for update skip locked
            ) taken
            where id = taken_id
            returning {CLAIMED}, handed_over, was_down_s, was_failing_s,
                greatest(0, coalesce(extract(epoch from
                    clock_timestamp() - coalesce(started_at, claimed_at)), 0))::float as running_s
            """,  # noqa: S608 - constants
            {
                "runner": runner,
                "lease_s": lease_s,
                "limit": limit,
                "boot_id": boot_id,
                "longest_s": longest_s(lease_s),
            },
        )
        return [
            replace(
                claim_of(row),
                handed_over=row["handed_over"],
                outage=Outage(row["was_down_s"], row["was_failing_s"]),
            )
            for row in rows
        ]

    def renew(
        self,
        held: Sequence[tuple[str, int]],
        *,
        lease_s: float,
        first_output_s: Mapping[str, float] = _NONE_YET,
    ) -> dict[str, bool]:
        """Renew what is still held. Command id -> whether its cancel was asked for; a command
        that is missing in the answer belongs to somebody else now. `first_output_s`: how many
        seconds ago each first wrote something, where that is known."""
        rows = self._sql.execute(
            f"""
            update commands c
            set lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s),
                first_output_at = {_FIRST_OUTPUT}
            from unnest(%(ids)s::text[], %(epochs)s::bigint[], %(outputs)s::float[])
                held (id, epoch, first_output_s)
            where c.id = held.id and c.{_OURS} held.epoch and c.status = 'running'
            returning c.id, c.cancel_requested_at is not null as cancel
            """,  # noqa: S608 - constants
            {
                "lease_s": lease_s,
                "ids": [command_id for command_id, _ in held],
                "epochs": [epoch for _, epoch in held],
                "outputs": [first_output_s.get(command_id) for command_id, _ in held],
            },
        )
        return {row["id"]: row["cancel"] for row in rows}

    def release(
        self,
        held: Sequence[tuple[str, int]],
        *,
        first_output_s: Mapping[str, float] = _NONE_YET,
        outages: Mapping[str, Outage] = _NO_OUTAGES,
    ) -> None:
        """Give leases back, so that another runner need not wait for their end. `outages`: of
        their workspaces, by command; it counts on from there."""
        lasted = [outages.get(i, Outage()) for i, _ in held]
        self._sql.execute(
            f"""
            update commands c set lease_until = '-infinity', first_output_at = {_FIRST_OUTPUT},
                down_s = held.down_s, failing_s = held.failing_s
            from unnest(%(ids)s::text[], %(epochs)s::bigint[], %(outputs)s::float[],
                %(down)s::float[], %(failing)s::float[])
                held (id, epoch, first_output_s, down_s, failing_s)
            where c.id = held.id and c.{_OURS} held.epoch and c.status = 'running'
            """,  # noqa: S608 - constants
            {
                "ids": [i for i, _ in held],
                "epochs": [e for _, e in held],
                "outputs": [first_output_s.get(i) for i, _ in held],
                "down": [each.down_s for each in lasted],
                "failing": [each.failing_s for each in lasted],
            },
        )

    def asked(self, command_id: str, epoch: int, life: str, boot_id: str | None) -> bool:
        """Record in which life of its files, and which boot of its machine, the workspace is about
        to be asked to start it: the first that it was asked in. False: the lease is lost."""
        done = self._sql.execute(
            f"""
            update commands set workspace_life = coalesce(workspace_life, %s),
                boot_id = coalesce(boot_id, %s)
            where id = %s and {_OURS} %s and status = 'running'
            """,  # noqa: S608 - constants
            (life, boot_id, command_id, epoch),
        )
        return done.rowcount == 1

    def started(
        self, command_id: str, epoch: int, *, ago_s: float = 0.0, lasting: bool = True
    ) -> bool | None:
        """Record the start. Whether nobody had done so before; None: the lease is lost. Not
        `lasting`: this transaction is not worth an fsync."""
        if not lasting:
            self._sql.execute("set local synchronous_commit = off")
        row = self._sql.execute(
            f"""
            update commands c set started_at = coalesce(c.started_at,
                clock_timestamp() - make_interval(secs => %s::float))
            from (select id, started_at from commands where id = %s for update) was
            where c.id = was.id and c.{_OURS} %s and c.status = 'running'
            returning was.started_at is null as first
            """,  # noqa: S608 - constants
            (ago_s, command_id, epoch),
        ).fetchone()
        return bool(row["first"]) if row else None

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
                waiting_for = null, workspace_life = null, boot_id = null, claimed_at = null,
                not_before = clock_timestamp() + make_interval(secs => %s)
            where id = %s and {_OURS} %s and status = 'running' and started_at is null
                and cancel_requested_at is null
            returning failures
            """,  # noqa: S608 - constants
            (delay_s, command_id, epoch),
        ).fetchone()
        return int(row["failures"]) if row else None

    def wait(
        self, command_id: str, epoch: int, why: str, *, most_s: float, alone_s: float = 0.0
    ) -> float | None:
        """Put back what certainly has not started, because its workspace is not there yet: that
        is no failure. For how many seconds it has been waiting so, of which the time since it was
        put back before counts for `most_s` at most, and the `alone_s` from now on, in which nobody
        is to look at it, in any case; None: lease lost, or its cancel was asked for meanwhile."""
        row = self._sql.execute(
            f"""
            update commands set status = 'queued', waits = waits + 1, lease_until = null,
                workspace_life = null, boot_id = null, claimed_at = null,
                waiting_since = coalesce(waiting_since, clock_timestamp()),
                waiting_for = %(why)s, waited_s = waited_s + %(alone_s)s
                    + greatest(0, least(%(most_s)s, extract(epoch from
                        clock_timestamp() - coalesce(looked_at, clock_timestamp()))::float)),
                looked_at = clock_timestamp() + make_interval(secs => %(alone_s)s)
            where id = %(id)s and {_OURS} %(epoch)s and status = 'running'
                and started_at is null and cancel_requested_at is null
            returning waited_s
            """,  # noqa: S608 - constants
            {
                "id": command_id,
                "epoch": epoch,
                "why": one_line(why),
                "most_s": most_s,
                "alone_s": alone_s,
            },
        ).fetchone()
        return float(row["waited_s"]) if row else None

    def finish(
        self,
        command_id: str,
        epoch: int,
        ending: Ending,
        *,
        ended_s: float | None = None,
        first_output_s: float | None = None,
    ) -> Command | None:
        """Close the record. None where the lease is lost or the record is closed already.
        `ended_s`, `first_output_s`: how many seconds ago that was, where it is known."""
        row = self._sql.execute(
            f"""
            update commands set status = %(status)s, exit_code = %(exit_code)s,
                signal = %(signal)s, reason = %(reason)s, reason_message = %(reason_message)s,
                truncated = %(truncated)s,
                stdout_bytes = %(stdout_bytes)s, stderr_bytes = %(stderr_bytes)s,
                stdout_sha256 = %(stdout_sha256)s, stderr_sha256 = %(stderr_sha256)s,
                usage = %(usage)s, finished_at = clock_timestamp(), lease_until = null,
                ended_at = clock_timestamp() - make_interval(secs => %(ended_s)s::float),
                first_output_at = coalesce(first_output_at,
                    clock_timestamp() - make_interval(secs => %(first_output_s)s::float)),
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
                "reason_message": ending.reason_message,
                "truncated": ending.truncated,
                "stdout_bytes": ending.output.stdout,
                "stderr_bytes": ending.output.stderr,
                "stdout_sha256": ending.stdout_sha256,
                "stderr_sha256": ending.stderr_sha256,
                "usage": Jsonb(dict(ending.usage)),
                "ran": ending.ran,
                "ended_s": ended_s,
                "first_output_s": first_output_s,
            },
        ).fetchone()
        return command_of(row) if row else None


def claim_of(row: DictRow) -> Claim:
    return Claim(
        command=command_of(row),
        env=row["env"],
        stdin=bytes(row["stdin"]),
        failures=row["failures"],
        waits=row["waits"],
        waited_s=row["waited_s"],
        queue_timed_out=bool(row["queue_timed_out"]),
        running_s=row["running_s"],
        stopping=_stopping(row["stopping"]),
    )


def _stopping(stored: dict[str, str] | None) -> Stopping | None:
    return Stopping(Status(stored["status"]), stored["reason"]) if stored else None
