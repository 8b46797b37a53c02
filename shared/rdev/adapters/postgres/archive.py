"""SQL of the archive: which commands' streams are to go there, are there, and have been removed."""

from collections.abc import Sequence

import psycopg
from psycopg.rows import DictRow

from rdev.adapters.postgres.clock import AHEAD
from rdev.adapters.postgres.commands import COLUMNS, command_of
from rdev.domain.commands import Command


class ArchiveRows:
    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._sql = connection

    def unarchived(self, *, older_than_s: float, limit: int) -> list[Command]:
        """Commands whose end was announced at least so long ago, and is not in the archive."""
        rows = self._sql.execute(
            f"""
            select {COLUMNS} from commands
            where not archived and announced and status not in ('queued', 'running')
                and (finished_at < now() - make_interval(secs => %s) or finished_at > {AHEAD})
            order by finished_at limit %s
            """,  # noqa: S608 - constants
            (older_than_s, limit),
        )
        return [command_of(row) for row in rows]

    def mark(self, command_ids: Sequence[str]) -> None:
        """Their streams are archived. Not worth an fsync: the archive itself says the same."""
        self._sql.execute("set local synchronous_commit = off")
        self._sql.execute(
            """
            update commands set archived = true,
                archived_at = coalesce(archived_at, clock_timestamp()) where id = any(%s)
            """,
            (list(command_ids),),
        )

    def is_archived(self, command_id: str) -> bool:
        row = self._sql.execute(
            "select archived from commands where id = %s", (command_id,)
        ).fetchone()
        return row is not None and row["archived"]

    def is_removed(self, command_id: str) -> bool:
        """Whether what was archived of it is over its time, and was removed."""
        row = self._sql.execute(
            "select archive_removed_at is not null as removed from commands where id = %s",
            (command_id,),
        ).fetchone()
        return row is not None and row["removed"]

    def outlived(
        self, *, older_than_s: float, limit: int, but: Sequence[str] = ()
    ) -> list[tuple[str, str]]:
        """(project, command) of archives that were to be kept no longer than this, `but` for the
        commands named."""
        rows = self._sql.execute(
            """
            select project_id, id from commands
            where archived and archive_removed_at is null
                and finished_at < now() - make_interval(secs => %s) and id <> all(%s)
            order by finished_at limit %s
            """,
            (older_than_s, list(but), limit),
        )
        return [(row["project_id"], row["id"]) for row in rows]

    def mark_removed(self, command_ids: Sequence[str]) -> None:
        self._sql.execute(
            "update commands set archive_removed_at = clock_timestamp() where id = any(%s)",
            (list(command_ids),),
        )
