"""Projects: the things users name, each with one workspace."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from rdev.domain.callers import Caller
from rdev.domain.ids import new_id
from rdev.domain.projects import Project
from rdev.domain.workspaces import State, WorkspaceState
from rdev.errors import Conflict, Forbidden, InvalidRequest, NotFound, WorkspaceUnavailable
from rdev.failpoints import reach
from rdev.ports import Transactions, Workspaces
from rdev.services import facts
from rdev.services.discovery import Discovery
from rdev.services.paging import page_seen
from rdev.services.removal import Removal
from rdev.services.unfinished import refuse_unfinished
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
        self._removal = Removal(transaction, workspaces)

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
        """Make the workspace, then the record. What a crash in between leaves is removed by the
        next attempt, or by a sweep. A workspace that is there without either, restored for one, is
        taken over as it is."""
        if not by.key.sees(project_id):
            raise Forbidden(f"This API key is not bound to a project named {project_id}.")
        project = Project(
            id=project_id,
            created_at=self._now(),
            git_url=git_url,
            env=env or {},
            max_concurrent=max_concurrent,
            template=template,
        )
        with self._workspaces.alone(project_id):
            since = self._begin(project_id)
            try:
                self._workspaces.create(project_id, git_url=git_url, template=template)
            except (InvalidRequest, Conflict):  # and nothing was made
                self._end_making(project_id, since)
                raise
            reach("create.made")
            try:
                setup = self._record(by, project, since)
            except Conflict:
                if since is not None:
                    self._leave_to_sweep(project_id)
                raise
        if setup is not None and self._exec:
            self._exec().wake(setup, position=1)
        return Seen(project, self._state(project), setup)

    def delete(self, by: Caller, project_id: str) -> None:
        """Remove the project with its files. Its commands' records stay. Raises Conflict while
        a command of it waits or runs. Where it raises WorkspaceUnavailable it is being deleted all
        the same: by the next who asks, or by a sweep."""
        project = self.find(by, project_id)
        if project.deletion is None:
            self._workspaces.check_ours(project_id)
            project = self._begin_deleting(by, project_id)
        reach("delete.begun")
        try:
            self._removal.finish(project)
        except WorkspaceUnavailable as exc:
            message = f"{exc.message} The project will be deleted as soon as that can be done."
            raise WorkspaceUnavailable(message, retry_after_s=exc.retry_after_s or 5) from exc

    def _begin(self, project_id: str) -> datetime | None:
        """Write down that its workspace is about to be made. None: there is one."""
        with self._transaction() as tx:
            project = tx.projects.get(project_id)
            left = tx.making.since(project_id)
        if project is not None:
            project.refuse_if_deleting()
            raise _taken(project_id)
        if left is None and self._workspaces.is_there(project_id):
            return None
        with self._transaction() as tx:
            since = tx.making.begin(project_id)
        reach("create.begun")
        if left is not None:
            try:
                self._removal.clear(project_id, since)
            except NotFound as exc:
                raise _taken(project_id) from exc
        return since

    def _end_making(self, project_id: str, since: datetime | None) -> None:
        if since is not None:
            with self._transaction() as tx:
                tx.making.end(project_id, since)

    def _leave_to_sweep(self, project_id: str) -> None:
        """Who slept while others made an end of this attempt has made a workspace that nobody else
        knows of, unless it is that of a project, or of another attempt."""
        with self._transaction() as tx:
            if tx.projects.get(project_id) is None and tx.making.since(project_id) is None:
                tx.making.begin(project_id)

    def _record(self, by: Caller, project: Project, since: datetime | None) -> Command | None:
        """The command that is to fill its workspace, where there is one."""
        setup = None
        with self._transaction() as tx:
            ours = since is None or tx.making.end(project.id, since)
            if not ours or not tx.projects.insert(project, by.key.id):
                raise _taken(project.id)
            facts.project_created(tx, by, project)
            if project.git_url is not None and self._exec and not self._workspaces.clones:
                from rdev.services.exec import cloning

                wish = cloning(project.git_url)
                setup = self._exec().insert(tx, by, project.id, new_id("cmd"), wish)
                tx.projects.set_setup(project.id, setup.id)
        return setup

    def _begin_deleting(self, by: Caller, project_id: str) -> Project:
        with self._transaction() as tx:
            # Whoever was about to submit a command has done so, or finds that it is too late.
            project = tx.projects.lock_out(project_id)
            if project is None:
                raise NotFound(f"Project not found: {project_id}")
            if project.deletion is not None:
                return project
            refuse_unfinished(tx, project_id)
            facts.project_delete_requested(tx, by, project_id)
            return replace(project, deletion=tx.projects.set_deleting(project_id, by))

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
            Seen(project, self._state(project), setups.get(project.setup_command or ""))
            for project in projects
        ]

    def _state(self, project: Project) -> WorkspaceState:
        if project.deletion is not None:
            return WorkspaceState(State.STOPPING, "deleting", "The project is being deleted.")
        try:
            return self._workspaces.state(project.id)
        except WorkspaceUnavailable as exc:
            return WorkspaceState(State.UNKNOWN, "unavailable", exc.message, stale=True)


def _taken(project_id: str) -> Conflict:
    return Conflict(f"There is a project of that name already: {project_id}")
