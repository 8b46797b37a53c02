"""Where finished streams live on, and the record of what is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rdev.domain.commands import Command
    from rdev.domain.segments import Segment, SegmentName


class ArchiveTable(Protocol):
    """Which commands' streams are to go into the archive, are there, and have been removed."""

    def unarchived(self, *, older_than_s: float, limit: int) -> Sequence[Command]: ...
    def mark(self, command_ids: Sequence[str]) -> None: ...
    def is_archived(self, command_id: str) -> bool: ...
    def is_removed(self, command_id: str) -> bool: ...
    def outlived(
        self, *, older_than_s: float, limit: int, but: Sequence[str] = ()
    ) -> Sequence[tuple[str, str]]: ...
    def mark_removed(self, command_ids: Sequence[str]) -> None: ...


class SegmentArchive(Protocol):
    """Segments of commands' streams, for as long as they are wanted. Every method raises
    StoreUnavailable within its time limit, and may be repeated."""

    def store(self, project_id: str, command_id: str, segment: Segment) -> None:
        """Durable once this returns; there whole, or not at all."""

    def segments(self, project_id: str, command_id: str) -> list[SegmentName]: ...

    def load(self, project_id: str, command_id: str, name: SegmentName) -> Segment | None:
        """None where it is not there. Raises SegmentDamaged, and never gives wrong bytes."""

    def remove(self, project_id: str, command_id: str) -> None:
        """Remove all of a command's segments."""
