"""The streams of commands and projects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rdev.domain.commands import Position
    from rdev.domain.events import Announced, Chunk, Entry, EntryId, Notice, Tail


class EventStreams(Protocol):
    """Commands' streams. Every method raises StoreUnavailable; every append may be repeated."""

    def append(
        self,
        project_id: str,
        command_id: str,
        stream: str,
        at: Position,
        data: bytes,
        *,
        type: str = "output",  # noqa: A002 (the event's type)
    ) -> Position:
        """Append bytes of `stdout` or `stderr` beginning at `at`, only if the stream ends there
        and is not finished. Returns where it ends now: go on from there, wherever that is."""

    def append_all(
        self, project_id: str, command_id: str, chunks: Sequence[Chunk], *, begun: bool = False
    ) -> Position:
        """Several appends in one round trip. `begun`: none to a stream that has no entry."""

    def announce(
        self,
        project_id: str,
        command_id: str,
        type: str,  # noqa: A002 (the event's type)
        data: Mapping[str, Any],
        totals: Position = ...,
    ) -> Announced:
        """Add command.queued, .started or .finished once; the last only at exactly `totals`."""

    def tail(self, project_id: str, command_id: str) -> Tail: ...

    def read(
        self, project_id: str, command_id: str, after: EntryId, *, count: int = 16
    ) -> list[Entry]: ...

    def trim_to(self, project_id: str, command_id: str, entry_id: EntryId) -> None:
        """Forget what lies before this entry, if it is one of the stream."""

    def forget(self, project_id: str, command_id: str, *, after_s: int) -> None:
        """Let the stream go in `after_s` seconds, or sooner if it was to go sooner."""


class ProjectFeed(Protocol):
    """What the hub needs: one blocking read over many projects, and quick looks back."""

    def latest(self, project_ids: Sequence[str]) -> dict[str, EntryId]: ...

    def wait(self, after: Mapping[str, EntryId], timeout_s: float) -> dict[str, list[Notice]]:
        """Blocks until something came after these ids, the bell was rung, or the timeout."""

    def ring(self) -> None: ...

    def history(self, project_id: str, after: EntryId, *, count: int) -> list[Notice]: ...

    def entries(
        self, ranges: Sequence[tuple[str, str, EntryId, EntryId | None]], *, count: int = ...
    ) -> list[list[Entry]]:
        """For each (project, command, after, last): the entries between, `count` at most."""

    def missing(self, project_id: str, command_ids: Sequence[str]) -> list[str]: ...

    def close(self) -> None: ...
