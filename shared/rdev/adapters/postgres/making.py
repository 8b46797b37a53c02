"""SQL of workspaces that are being made for projects without a record."""

from datetime import datetime

import psycopg
from psycopg.rows import DictRow

from rdev.adapters.postgres.clock import AHEAD


class MakingRows:
    """Port `rdev.ports.MakingTable`."""

    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._sql = connection

    def since(self, project_id: str) -> datetime | None:
        row = self._sql.execute(
            "select since from workspaces_in_making where project_id = %s", (project_id,)
        ).fetchone()
        return row["since"] if row else None

    def begin(self, project_id: str) -> datetime:
        row = self._sql.execute(
            """
            insert into workspaces_in_making (project_id) values (%s)
            on conflict (project_id) do update set since = clock_timestamp() returning since
            """,
            (project_id,),
        ).fetchone()
        assert row is not None
        since: datetime = row["since"]
        return since

    def end(self, project_id: str, since: datetime) -> bool:
        done = self._sql.execute(
            "delete from workspaces_in_making where project_id = %s and since = %s",
            (project_id, since),
        )
        return done.rowcount == 1

    def take_over(self, project_id: str, since: datetime) -> datetime | None:
        row = self._sql.execute(
            """
            update workspaces_in_making set since = clock_timestamp()
            where project_id = %s and since = %s returning since
            """,
            (project_id, since),
        ).fetchone()
        return row["since"] if row else None

    def left(self, *, older_than_s: float, limit: int) -> list[tuple[str, datetime]]:
        rows = self._sql.execute(
            f"""
            select project_id, since from workspaces_in_making
            where since < now() - make_interval(secs => %s) or since > {AHEAD}
            order by random() limit %s
            """,  # noqa: S608 - a constant
            (older_than_s, limit),
        )
        return [(row["project_id"], row["since"]) for row in rows]
