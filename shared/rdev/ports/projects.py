"""The records of projects."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rdev.domain.callers import Caller
    from rdev.domain.projects import Deletion, Project


class ProjectTable(Protocol):
    def insert(self, project: Project, created_by: str) -> bool: ...
    def get(self, project_id: str) -> Project | None: ...
    def all_of(self, project_ids: Sequence[str]) -> Sequence[Project]:
        """Those of these that there are, in no order."""

    def list(self, *, after: str | None, limit: int) -> Sequence[Project]: ...
    def lock(self, project_id: str, *, shared: bool = False) -> Project | None:
        """Its record as it is now, which nobody changes before the transaction's end. `shared`:
        several may hold it so at once."""

    def keep(self, project_id: str) -> Project | None:
        """Its record as it is now. Nobody begins to delete the project before the transaction's
        end; other changes pass."""

    def unrecorded(self, project_ids: Sequence[str]) -> Sequence[str]:
        """Those of these that have no record."""

    def set_stopped(self, project_id: str, *, stopped: bool, settled: bool) -> None:
        """Say whether its workspace is meant to be stopped. Counts as a use of it."""

    def set_setup(self, project_id: str, command_id: str) -> None: ...
    def hold(self, project_id: str, for_s: float) -> None:
        """Have nobody claim a command of it for so long."""

    def idle(self, *, for_s: float, limit: int) -> Sequence[str]:
        """Projects that are meant to run and have had no command for so long."""

    def unsettled(self, limit: int) -> Sequence[Project]:
        """Whose workspace may not have been told that it is meant to be stopped."""

    # --- from being there to being gone ----------------------------------------------------------

    def lock_out(self, project_id: str) -> Project | None:
        """Its record as it is now, which until the transaction's end nobody changes nor keeps;
        so whoever kept it has committed."""

    def set_deleting(self, project_id: str, by: Caller) -> Deletion: ...

    def is_deleting(self, project_id: str, since: datetime) -> bool:
        """Whether it is this deletion that is under way."""

    def delete(self, project_id: str, since: datetime) -> bool:
        """Remove the record. False: somebody else has ended this deletion."""

    def deleting(self, *, older_than_s: float, limit: int) -> Sequence[Project]:
        """Those whose deletion was asked for that long ago, in any order."""


class MakingTable(Protocol):
    """Workspaces that are being made for projects without a record."""

    def since(self, project_id: str) -> datetime | None:
        """When the last attempt began that has not ended."""

    def begin(self, project_id: str) -> datetime:
        """Begin an attempt, and take over from one that has not ended: it cannot end any more."""

    def end(self, project_id: str, since: datetime) -> bool:
        """False: somebody else has taken over from this attempt."""

    def take_over(self, project_id: str, since: datetime) -> datetime | None:
        """As `begin`, from this very attempt alone; None: it has ended."""

    def left(self, *, older_than_s: float, limit: int) -> Sequence[tuple[str, datetime]]:
        """Attempts that have not ended in that time, in any order."""
