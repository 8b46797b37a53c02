"""Workspaces that are to go: those of projects that are being deleted, and what is left of ones
that were never made to the end.

What is meant is written down first, then the workspace goes, then what was written down with it.
So whoever dies in between leaves something that is found: by the next request, or by a sweep. Each
names the attempt that it is part of; one that slept meanwhile finds another attempt, or none, and
leaves the workspace alone, which may be that of another project of the same name by then.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial

from rdev.domain.projects import Project
from rdev.errors import NotFound, RdevError, StoreUnavailable
from rdev.failpoints import reach
from rdev.ports import Transactions, Workspaces
from rdev.services import facts

log = logging.getLogger(__name__)

_AT_ONCE = 20
_UNDER_WAY_S = 10.0
"""For so long whoever was asked to delete a project is likely to be at it."""
_BEING_MADE_S = 900.0
"""More than making a workspace takes, which may be a clone of 300 s."""


class Removal:
    def __init__(self, transaction: Transactions, workspaces: Workspaces) -> None:
        self._transaction = transaction
        self._workspaces = workspaces

    def finish(self, project: Project) -> None:
        """Go on with a deletion to its end. Ended already by somebody else is no error. Raises
        WorkspaceUnavailable, and Conflict while somebody else is at this workspace."""
        deletion = project.deletion
        assert deletion is not None
        with self._workspaces.alone(project.id):
            try:
                self._workspaces.delete(
                    project.id, lambda: self._check_deleting(project.id, deletion.since)
                )
            except NotFound:
                return
            reach("delete.removed")
            with self._transaction() as tx:
                if tx.projects.delete(project.id, deletion.since):
                    facts.project_deleted(tx, project.id, deletion)

    def undo(self, project_id: str, since: datetime) -> None:
        """Remove what the attempt `since` to make a workspace has left, if nobody else has."""
        with self._workspaces.alone(project_id):
            with self._transaction() as tx:
                mine = tx.making.take_over(project_id, since)
            if mine is None:
                return
            with suppress(NotFound):  # what is recorded stays
                self.clear(project_id, mine)
            with self._transaction() as tx:
                tx.making.end(project_id, mine)

    def clear(self, project_id: str, since: datetime) -> None:
        """Remove what earlier attempts than this one, which is `since`, have made. Raises
        NotFound where somebody has taken over from it, or the project has its record."""
        self._workspaces.undo(project_id, lambda: self._check_making(project_id, since))

    def sweep(self) -> None:
        """Take up what was left."""
        with self._transaction(reading=True) as tx:
            deleting = tx.projects.deleting(older_than_s=_UNDER_WAY_S, limit=_AT_ONCE)
            unmade = tx.making.left(older_than_s=_BEING_MADE_S, limit=_AT_ONCE)
        for project in deleting:
            self._try(project.id, partial(self.finish, project))
        for project_id, since in unmade:
            self._try(project_id, partial(self.undo, project_id, since))

    def _check_deleting(self, project_id: str, since: datetime) -> None:
        with self._transaction(reading=True) as tx:
            if not tx.projects.is_deleting(project_id, since):
                raise NotFound(f"Project not found: {project_id}")

    def _check_making(self, project_id: str, since: datetime) -> None:
        with self._transaction(reading=True) as tx:
            recorded = tx.projects.get(project_id) is not None
            if recorded or tx.making.since(project_id) != since:
                raise NotFound(f"Somebody else makes the workspace {project_id}.")

    def _try(self, project_id: str, act: Callable[[], None]) -> None:
        """One keeps none of the others from it."""
        try:
            act()
        except StoreUnavailable:
            raise  # it would be the same for the others, each after its time limit
        except RdevError as exc:
            log.warning("the removal of %s is left to the next sweep: %s", project_id, exc)
        except Exception:
            log.exception("the removal of %s is left to the next sweep", project_id)
