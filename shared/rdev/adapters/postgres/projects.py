"""SQL of projects."""

import builtins
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from rdev.adapters.postgres.clock import AHEAD
from rdev.domain.callers import Caller
from rdev.domain.projects import Deletion, Project

_LOOKED_AT = 1000
"""The newest commands of a project, among which the one that ended last is looked for."""

_NOT_LONG_AGO_S = 60.0


class ProjectRows:
    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._sql = connection

    def insert(self, project: Project, created_by: str) -> bool:
        """False where the name is taken."""
        done = self._sql.execute(
            """
            insert into projects (id, git_url, env, max_concurrent, created_at, created_by,
                template)
            values (%s, %s, %s, %s, %s, %s, %s) on conflict do nothing
            """,
            (
                project.id,
                project.git_url,
                Jsonb(dict(project.env)),
                project.max_concurrent,
                project.created_at,
                created_by,
                project.template,
            ),
        )
        return done.rowcount == 1

    def get(self, project_id: str) -> Project | None:
        row = self._sql.execute("select * from projects where id = %s", (project_id,)).fetchone()
        return _project(row) if row else None

    def all_of(self, project_ids: Sequence[str]) -> builtins.list[Project]:
        rows = self._sql.execute(
            "select * from projects where id = any(%s)", (list(set(project_ids)),)
        )
        return [_project(row) for row in rows]

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

    def lock(self, project_id: str, *, shared: bool = False) -> Project | None:
        how = "share" if shared else "no key update"
        # Who shares it changes nothing, and a lock alone is not worth an fsync.
        more = ", set_config('synchronous_commit', 'off', true)" if shared else ""
        row = self._sql.execute(
            f"""
            select *,
                case when used_at > clock_timestamp() - make_interval(secs => %s)
                    then used_at end as changed_at
                {more}
            from projects where id = %s for {how}
            """,  # noqa: S608 - constants
            (_NOT_LONG_AGO_S, project_id),
        ).fetchone()
        return _project(row) if row else None

    def keep(self, project_id: str) -> Project | None:
        # The weakest lock that `lock_out` waits for. It holds up no other change of the row.
        row = self._sql.execute(
            "select * from projects where id = %s for key share", (project_id,)
        ).fetchone()
        return _project(row) if row else None

    def unrecorded(self, project_ids: Sequence[str]) -> builtins.list[str]:
        rows = self._sql.execute(
            """
            select asked.id from unnest(%s::text[]) asked (id)
            where not exists (select from projects p where p.id = asked.id)
            """,
            (list(project_ids),),
        )
        return [row["id"] for row in rows]

    def set_stopped(self, project_id: str, *, stopped: bool, settled: bool) -> None:
        self._sql.execute(
            """
            update projects set stopped = %s, settled = %s, claim_after = null,
                used_at = clock_timestamp() where id = %s
            """,
            (stopped, settled, project_id),
        )

    def set_setup(self, project_id: str, command_id: str) -> None:
        self._sql.execute(
            "update projects set setup_command = %s where id = %s", (command_id, project_id)
        )

    def hold(self, project_id: str, for_s: float) -> None:
        # Not worth an fsync: who forgets it looks once too often.
        self._sql.execute("set local synchronous_commit = off")
        self._sql.execute(
            """
            update projects set claim_after = clock_timestamp() + make_interval(secs => %s)
            where id = %s
            """,
            (for_s, project_id),
        )

    def idle(self, *, for_s: float, limit: int) -> builtins.list[str]:
        """A command that ended since moves `used_at` on, here alone: no command pays for it."""
        rows = self._sql.execute(
            """
            with quiet as (
                select p.id, p.used_at from projects p
                where not p.stopped and p.deleting_at is null
                    and p.used_at < now() - make_interval(secs => %(for_s)s)
                    and not exists (select from commands c where c.project_id = p.id
                        and c.status in ('queued', 'running'))
                order by p.used_at limit %(limit)s
            ), last as (
                select q.id, (select max(finished_at) from (
                    select finished_at from commands c where c.project_id = q.id
                    order by c.id desc limit %(looked_at)s) newest) as used_at
                from quiet q
            ), moved as (
                update projects p set used_at = last.used_at from last
                where p.id = last.id and last.used_at > p.used_at
                returning p.id, p.used_at
            )
            select q.id from quiet q left join moved m on m.id = q.id
            where m.id is null or m.used_at < now() - make_interval(secs => %(for_s)s)
            """,
            {"for_s": for_s, "limit": limit, "looked_at": _LOOKED_AT},
        )
        return [row["id"] for row in rows]

    def unsettled(self, limit: int) -> builtins.list[Project]:
        rows = self._sql.execute(
            "select * from projects where not settled and deleting_at is null order by id limit %s",
            (limit,),
        )
        return [_project(row) for row in rows]

    def lock_out(self, project_id: str) -> Project | None:
        row = self._sql.execute(
            "select * from projects where id = %s for update", (project_id,)
        ).fetchone()
        return _project(row) if row else None

    def set_deleting(self, project_id: str, by: Caller) -> Deletion:
        row = self._sql.execute(
            """
            update projects set deleting_at = clock_timestamp(), deleting_by = %s
            where id = %s returning deleting_at, deleting_by
            """,
            (
                Jsonb(
                    {
                        "key_id": by.key.id,
                        "key_name": by.key.name,
                        "address": by.address,
                        "request_id": by.request_id,
                    }
                ),
                project_id,
            ),
        ).fetchone()
        assert row is not None
        return _deletion(row)

    def is_deleting(self, project_id: str, since: datetime) -> bool:
        row = self._sql.execute(
            "select from projects where id = %s and deleting_at = %s", (project_id, since)
        ).fetchone()
        return row is not None

    def delete(self, project_id: str, since: datetime) -> bool:
        done = self._sql.execute(
            "delete from projects where id = %s and deleting_at = %s", (project_id, since)
        )
        return done.rowcount == 1

    def deleting(self, *, older_than_s: float, limit: int) -> builtins.list[Project]:
        rows = self._sql.execute(
            f"""
            select * from projects where deleting_at < now() - make_interval(secs => %s)
                or deleting_at > {AHEAD}
            order by random() limit %s
            """,  # noqa: S608 - a constant
            (older_than_s, limit),
        )
        return [_project(row) for row in rows]


def _project(row: dict[str, Any]) -> Project:
    return Project(
        id=row["id"],
        created_at=row["created_at"],
        git_url=row["git_url"],
        env=row["env"],
        max_concurrent=row["max_concurrent"],
        template=row["template"],
        stopped=row["stopped"],
        settled=row["settled"],
        setup_command=row["setup_command"],
        changed_at=row.get("changed_at"),
        deletion=None if row["deleting_at"] is None else _deletion(row),
    )


def _deletion(row: dict[str, Any]) -> Deletion:
    by = row["deleting_by"]
    # By name: a later version, beside this one in an upgrade, may note more.
    return Deletion(
        row["deleting_at"], by["key_id"], by["key_name"], by["address"], by["request_id"]
    )
