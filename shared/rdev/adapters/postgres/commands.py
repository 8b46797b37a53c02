"""SQL of commands' records: submit, read, list, ask for a cancel. Claims are in `queue`."""

import builtins
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from rdev.domain.commands import Command, Kind, Position, Priority, Status, Submission

# What a record shows: all but what only the runner needs. A command still waits for its workspace
# while a runner has it and looks for that, until the workspace was asked to start it.
COLUMNS = """id, project_id, key_id, kind, status, priority, spec, labels, timeout_s, queued_at,
    started_at, finished_at, exit_code, signal, reason, reason_message, stdout_bytes, stderr_bytes,
    stdout_sha256, stderr_sha256, truncated, usage, cancel_requested_at, epoch,
    case when status in ('queued', 'running') and started_at is null and workspace_life is null
        then waiting_for end as waiting_for, trace_context,
    claimed_at, waiting_since, first_output_at, ended_at, archived_at, workspace_life,
    boot_id"""


class CommandRows:
    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._sql = connection

    def insert(self, asked: Submission) -> Command:
        """Queue a command; its key is given its place among those that take turns."""
        row = self._sql.execute(
            f"""
            with turn as (insert into queue_turns (key_id) values (%s) on conflict do nothing)
            insert into commands (id, project_id, key_id, kind, priority, spec, env, stdin,
                labels, timeout_s, queue_timeout_s, trace_context)
            values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            returning {COLUMNS}
            """,  # noqa: S608 - a constant
            (
                asked.key_id,
                asked.id,
                asked.project_id,
                asked.key_id,
                asked.kind,
                asked.priority,
                Jsonb(dict(asked.spec)),
                Jsonb(dict(asked.env)),
                asked.stdin,
                Jsonb(dict(asked.labels)),
                asked.timeout_s,
                asked.queue_timeout_s,
                asked.trace_context,
            ),
        ).fetchone()
        assert row is not None
        return command_of(row)

    def waiting_of(self, key_id: str, *, most: int) -> int:
        """How many of a key wait. From half of `most` on by one transaction at a time, so that
        those that ask at once do not all find the last place free."""
        waiting = self._waiting_of(key_id)
        if 2 * waiting >= most:
            self._sql.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (key_id,))
            waiting = self._waiting_of(key_id)
        return waiting

    def _waiting_of(self, key_id: str) -> int:
        row = self._sql.execute(
            "select count(*) as n from commands where key_id = %s and status = 'queued'", (key_id,)
        ).fetchone()
        assert row is not None
        return int(row["n"])

    def remember_request(
        self, key_id: str, project_id: str, value: str, request_hash: bytes, command_id: str
    ) -> tuple[str, bytes] | None:
        """Note an Idempotency-Key. If it is known (24 h), nothing is changed and the command's id
        and the first request's hash come back. Waits for a twin that is being submitted."""
        self._sql.execute(
            """
            delete from idempotency_keys where key_id = %s and project_id = %s and value = %s
                and created_at < now() - interval '24 hours'
            """,
            (key_id, project_id, value),
        )
        done = self._sql.execute(
            """
            insert into idempotency_keys (key_id, project_id, value, request_hash, command_id)
            values (%s, %s, %s, %s, %s) on conflict do nothing
            """,
            (key_id, project_id, value, request_hash, command_id),
        )
        if done.rowcount == 1:
            return None
        row = self._sql.execute(
            """
            select command_id, request_hash from idempotency_keys
            where key_id = %s and project_id = %s and value = %s
            """,
            (key_id, project_id, value),
        ).fetchone()
        assert row is not None
        return row["command_id"], bytes(row["request_hash"])

    def get(self, project_id: str, command_id: str) -> Command | None:
        row = self._sql.execute(
            f"select {COLUMNS} from commands where id = %s and project_id = %s",  # noqa: S608
            (command_id, project_id),
        ).fetchone()
        return command_of(row) if row else None

    def list(
        self,
        project_id: str,
        *,
        before: str | None,
        limit: int,
        status: str | None = None,
        kind: str | None = None,
        key_id: str | None = None,
        since: datetime | None = None,
    ) -> list[Command]:
        """Newest first; `before` is the id to go on after."""
        rows = self._sql.execute(
            f"""
            select {COLUMNS} from commands
            where project_id = %(project_id)s
                and (%(before)s::text is null or id < %(before)s)
                and (%(status)s::text is null or status = %(status)s)
                and (%(kind)s::text is null or kind = %(kind)s)
                and (%(key_id)s::text is null or key_id = %(key_id)s)
                and (%(since)s::timestamptz is null or queued_at >= %(since)s)
            order by id desc limit %(limit)s
            """,  # noqa: S608 - a constant
            {
                "project_id": project_id,
                "before": before,
                "limit": limit,
                "status": status,
                "kind": kind,
                "key_id": key_id,
                "since": since,
            },
        )
        return [command_of(row) for row in rows]

    def all_of(self, command_ids: Sequence[str]) -> builtins.list[Command]:
        rows = self._sql.execute(
            f"select {COLUMNS} from commands where id = any(%s)",  # noqa: S608 - a constant
            (list(command_ids),),
        )
        return [command_of(row) for row in rows]

    def unfinished_of(self, project_id: str) -> Command | None:
        row = self._sql.execute(
            f"""
            select {COLUMNS} from commands
            where project_id = %s and status in ('queued', 'running') limit 1
            """,  # noqa: S608 - a constant
            (project_id,),
        ).fetchone()
        return command_of(row) if row else None

    def cancel_queued(self, command_id: str) -> Command | None:
        """End a command that waits. None where it waits no longer."""
        row = self._sql.execute(
            f"""
            update commands set status = 'cancelled', finished_at = clock_timestamp(),
                cancel_requested_at = clock_timestamp(), epoch = epoch + 1, env = '{{}}', stdin = ''
            where id = %s and status = 'queued' returning {COLUMNS}
            """,  # noqa: S608 - a constant
            (command_id,),
        ).fetchone()
        return command_of(row) if row else None

    def ask_to_cancel(self, command_id: str) -> bool:
        """Leave the wish to cancel for the runner. False where the command runs no longer."""
        done = self._sql.execute(
            """
            update commands set cancel_requested_at = coalesce(cancel_requested_at,
                clock_timestamp()) where id = %s and status = 'running'
            """,
            (command_id,),
        )
        return done.rowcount == 1


def command_of(row: dict[str, Any]) -> Command:
    return Command(
        id=row["id"],
        project_id=row["project_id"],
        key_id=row["key_id"],
        kind=Kind(row["kind"]),
        status=Status(row["status"]),
        priority=Priority(row["priority"]),
        spec=row["spec"],
        queued_at=row["queued_at"],
        timeout_s=row["timeout_s"],
        labels=row["labels"],
        epoch=row["epoch"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        exit_code=row["exit_code"],
        signal=row["signal"],
        reason=row["reason"],
        reason_message=row["reason_message"],
        output=Position(row["stdout_bytes"], row["stderr_bytes"]),
        stdout_sha256=row["stdout_sha256"],
        stderr_sha256=row["stderr_sha256"],
        truncated=row["truncated"],
        usage=row["usage"],
        cancel_requested_at=row["cancel_requested_at"],
        waiting_for=row["waiting_for"],
        trace_context=row["trace_context"],
        claimed_at=row["claimed_at"],
        waiting_since=row["waiting_since"],
        first_output_at=row["first_output_at"],
        ended_at=row["ended_at"],
        workspace_life=row["workspace_life"],
        boot_id=row["boot_id"],
        archived_at=row["archived_at"],
    )
