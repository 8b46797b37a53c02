"""Projects: the things users name, each with one workspace."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from rdev.domain.callers import Caller
from rdev.domain.ids import new_id
from rdev.domain.projects import Project
from rdev.domain.workspaces import State, WorkspaceState
from rdev.errors import Conflict, Forbidden, NotFound, WorkspaceUnavailable
from rdev.ports import Transactions, Workspaces
from rdev.services import facts
from rdev.services.discovery import Discovery
from rdev.services.paging import page_seen
from rdev.together import Together

if TYPE_CHECKING:
    from rdev.domain.commands import Command
    from rdev.services.exec import Exec

log = logging.getLogger(__name__)

_LOOKED_UP_S = 20.0
"""More than a statement may take."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A project as it is shown."""

    project: Project
    state: WorkspaceState
    setup: Command | None = None
    """The command that fills its workspace, where there is one."""


class Projects:
    def __init__(
        self,
        transaction: Transactions,
        workspaces: Workspaces,
        *,
        now: Callable[[], datetime],
        exec_: Callable[[], Exec] | None = None,
    ) -> None:
        """`exec_` takes the command that fills a workspace which `create` does not fill."""
        self._transaction = transaction
        self._workspaces = workspaces
        self._now = now
        self._exec = exec_
        self._recorded = Together(self._read, timeout_s=_LOOKED_UP_S)
        self._discovery = Discovery(transaction, workspaces, now=now)

    def find(self, by: Caller, project_id: str) -> Project:
        """Its record alone. Raises NotFound also for a project that the key may not see."""
        by.must_see(project_id)
        project = self._recorded(project_id)
        if project is None:
            self._discover()
            project = self._recorded(project_id)
        if project is None:
            raise NotFound(f"Project not found: {project_id}")
        return project

    def get(self, by: Caller, project_id: str) -> Seen:
        """With its workspace's state. Raises as `find` does."""
        return self._seen([self.find(by, project_id)])[0]

    def list(
        self, by: Caller, *, after: str | None, limit: int
    ) -> tuple[Sequence[Seen], str | None]:
        """A page of the projects that the key sees, by name, and where the next page begins."""
        self._discover()
        with self._transaction(reading=True) as tx:
            projects, cursor = page_seen(
                lambda start, count: tx.projects.list(after=start, limit=count),
                lambda project: by.key.sees(project.id),
                lambda project: project.id,
                start=after,
                limit=limit,
            )
        return self._seen(projects), cursor

    def create(
        self,
        by: Caller,
        project_id: str,
        *,
        git_url: str | None = None,
        env: Mapping[str, str] | None = None,
        max_concurrent: int | None = None,
        template: str | None = None,
    ) -> Seen:
        """Make the workspace, then the record: a crash in between leaves a workspace that the
        next attempt takes over."""
        if not by.key.sees(project_id):
            raise Forbidden(f"This API key is not bound to a project named {project_id}.")
        with self._transaction() as tx:
            if tx.projects.get(project_id) is not None:
                raise Conflict(f"There is a project of that name already: {project_id}")
        project = Project(
            id=project_id,
            created_at=self._now(),
            git_url=git_url,
            env=env or {},
            max_concurrent=max_concurrent,
            template=template,
        )
        self._workspaces.create(project_id, git_url=git_url, template=template)
        setup = None
        with self._transaction() as tx:
            if not tx.projects.insert(project, by.key.id):
                raise Conflict(f"There is a project of that name already: {project_id}")
            facts.project_created(tx, by, project)
            if git_url is not None and self._exec and not self._workspaces.clones:
                from rdev.services.exec import cloning

                setup = self._exec().insert(tx, by, project_id, new_id("cmd"), cloning(git_url))
                tx.projects.set_setup(project_id, setup.id)
        if setup is not None and self._exec:
            self._exec().wake(setup, position=1)
        return Seen(project, self._state(project_id), setup)

    def delete(self, by: Caller, project_id: str) -> None:
        """Remove the project with its files. Its commands' records stay. Raises Conflict while
        a command of it waits or runs."""
        self.find(by, project_id)
        self._workspaces.check_ours(project_id)
        with self._transaction() as tx:
            unfinished = tx.commands.unfinished_of(project_id)
            if unfinished is not None:
                raise Conflict(
                    f"A command of this project is {unfinished.status}: {unfinished.id}. "
                    "Cancel it, or wait for its end, and try again."
                )
            tx.projects.delete(project_id)
            facts.project_deleted(tx, by, project_id)
        self._workspaces.delete(project_id)

    def _read(self, project_ids: Sequence[str]) -> Sequence[Project | None]:
        with self._transaction(reading=True) as tx:
            found = {project.id: project for project in tx.projects.all_of(project_ids)}
        return [found.get(project_id) for project_id in project_ids]

    def _discover(self) -> None:
        try:
            self._discovery.adopt()
        except WorkspaceUnavailable as exc:  # what is recorded can be told all the same
            log.warning("no workspaces can be found at the moment: %s", exc)

    def _seen(self, projects: Sequence[Project]) -> Sequence[Seen]:
        asked = [project.setup_command for project in projects if project.setup_command]
        setups: dict[str, Command] = {}
        if asked:
            with self._transaction(reading=True) as tx:
                setups = {command.id: command for command in tx.commands.all_of(asked)}
        return [
            Seen(project, self._state(project.id), setups.get(project.setup_command or ""))
            for project in projects
        ]

    def _state(self, project_id: str) -> WorkspaceState:
        try:
            return self._workspaces.state(project_id)
        except WorkspaceUnavailable as exc:
            return WorkspaceState(State.UNKNOWN, "unavailable", exc.message, stale=True)
