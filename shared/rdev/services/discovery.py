"""Projects that are there without a record: their workspaces carry the label. They get one."""

from collections.abc import Callable
from datetime import datetime

from rdev.domain.projects import PROJECT_ID, Project
from rdev.ports import Transactions, Workspaces
from rdev.services import facts

_BY = "discovery"


class Discovery:
    """Cheap to call often: one query where something was found, none where nothing was."""

    def __init__(
        self, transaction: Transactions, workspaces: Workspaces, *, now: Callable[[], datetime]
    ) -> None:
        self._transaction = transaction
        self._workspaces = workspaces
        self._now = now
        self._recorded: frozenset[str] = frozenset()

    def adopt(self) -> None:
        """Make records of what was found. Two that do so at once make one of each."""
        found = frozenset(
            each.project_id
            for each in self._workspaces.found()
            if PROJECT_ID.fullmatch(each.project_id)
        )
        if found <= self._recorded:
            self._recorded = found  # one that goes may come again
            return
        with self._transaction(reading=True) as tx:
            missing = frozenset(tx.projects.unrecorded(sorted(found)))
            being_made = {each for each in missing if tx.making.since(each)}
        left = set(missing)
        for project_id in sorted(missing - being_made):
            # Asked once more: what was deleted with its record may still be seen from here. One
            # by one: should there be no answer to a later one, these have their record.
            if self._workspaces.is_there(project_id):
                self._record(project_id)
                left.remove(project_id)
        self._recorded = found - left

    def _record(self, project_id: str) -> None:
        project = Project(id=project_id, created_at=self._now())
        with self._transaction() as tx:
            if tx.projects.insert(project, _BY):
                facts.project_discovered(tx, project)
