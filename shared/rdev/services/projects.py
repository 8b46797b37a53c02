"""Projects: the things users name, each with one workspace."""

from collections.abc import Callable, Mapping
from datetime import datetime

from rdev.domain.callers import Caller
from rdev.domain.projects import Project
from rdev.errors import Conflict, Forbidden, Hidden, NotFound
from rdev.ports import Transactions, Workspaces
from rdev.services import facts
from rdev.services.paging import page_seen


class Projects:
    def __init__(
        self, transaction: Transactions, workspaces: Workspaces, *, now: Callable[[], datetime]
    ) -> None:
        self._transaction = transaction
        self._workspaces = workspaces
        self._now = now

    def get(self, by: Caller, project_id: str) -> Project:
        """Raises NotFound also for a project that the key may not see."""
        message = f"Project not found: {project_id}"
        if not by.key.sees(project_id):
            raise Hidden(message)
        with self._transaction(reading=True) as tx:
            project = tx.projects.get(project_id)
        if project is None:
            raise NotFound(message)
        return project

    def list(
        self, by: Caller, *, after: str | None, limit: int
    ) -> tuple[list[Project], str | None]:
        """A page of the projects that the key sees, by name, and where the next page begins."""
        with self._transaction(reading=True) as tx:
            return page_seen(
                lambda start, count: tx.projects.list(after=start, limit=count),
                lambda project: by.key.sees(project.id),
                lambda project: project.id,
                start=after,
                limit=limit,
            )

    def create(
        self,
        by: Caller,
        project_id: str,
        *,
        git_url: str | None = None,
        env: Mapping[str, str] | None = None,
        max_concurrent: int | None = None,
    ) -> Project:
        """Make the workspace, then the record: a crash in between leaves a folder that the next
        attempt takes over."""
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
        )
        self._workspaces.create(project_id, git_url=git_url)
        with self._transaction() as tx:
            if not tx.projects.insert(project, by.key.id):
                raise Conflict(f"There is a project of that name already: {project_id}")
            facts.project_created(tx, by, project)
        return project

    def delete(self, by: Caller, project_id: str) -> None:
        """Remove the project with its files. Its commands' records stay. Raises Conflict while
        a command of it waits or runs."""
        self.get(by, project_id)
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
