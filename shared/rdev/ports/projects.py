"""The records of projects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rdev.domain.projects import Project


class ProjectTable(Protocol):
    def insert(self, project: Project, created_by: str) -> bool: ...
    def get(self, project_id: str) -> Project | None: ...
    def all_of(self, project_ids: Sequence[str]) -> Sequence[Project]:
        """Those of these that there are, in no order."""

    def list(self, *, after: str | None, limit: int) -> Sequence[Project]: ...
    def delete(self, project_id: str) -> bool: ...
    def lock(self, project_id: str, *, shared: bool = False) -> Project | None:
        """Its record as it is now, which nobody changes before the transaction's end. `shared`:
        several may hold it so at once."""

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
