"""SQL of projects."""

from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from rdev.domain.projects import Project


class ProjectRows:
    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._sql = connection

    def insert(self, project: Project, created_by: str) -> bool:
        """False where the name is taken."""
        done = self._sql.execute(
            """
            insert into projects (id, git_url, env, max_concurrent, created_at, created_by)
            values (%s, %s, %s, %s, %s, %s) on conflict do nothing
            """,
            (
                project.id,
                project.git_url,
                Jsonb(dict(project.env)),
                project.max_concurrent,
                project.created_at,
                created_by,
            ),
        )
        return done.rowcount == 1

    def get(self, project_id: str) -> Project | None:
        row = self._sql.execute("select * from projects where id = %s", (project_id,)).fetchone()
        return _project(row) if row else None

    def list(self, *, after: str | None, limit: int) -> list[Project]:
        """By name; `after` is the name to go on after."""
        rows = self._sql.execute(
            """
            select * from projects where %(after)s::text is null or id > %(after)s
            order by id limit %(limit)s
            """,
            {"after": after, "limit": limit},
        )
        return [_project(row) for row in rows]

    def delete(self, project_id: str) -> bool:
        return self._sql.execute("delete from projects where id = %s", (project_id,)).rowcount == 1


def _project(row: dict[str, Any]) -> Project:
    return Project(
        id=row["id"],
        created_at=row["created_at"],
        git_url=row["git_url"],
        env=row["env"],
        max_concurrent=row["max_concurrent"],
    )
