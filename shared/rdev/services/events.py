"""Events: open a reader of a stream, wait for an end, read a command's whole output."""

import time
from collections.abc import Iterator
from itertools import chain
from typing import TypeVar

from rdev.domain.commands import Position
from rdev.domain.events import (
    NOTHING,
    START,
    Entry,
    EntryId,
    Tail,
    finished_id,
    output_id,
)
from rdev.domain.segments import size_of
from rdev.errors import Gone, StoreUnavailable
from rdev.ports import EventStreams, SegmentArchive
from rdev.services.channels import Bell
from rdev.services.ends import Ended
from rdev.services.history import CommandHistory, ProjectHistory
from rdev.services.hub import TICK_S, Hub
from rdev.services.readers import Reader
from rdev.services.stored import Stored

_TICKS = 4
"""Of the hub, until a reader looks again whether its command has ended."""
_PAGE = 16
"""Entries of output read at once: 512 kB at most."""
_Item = TypeVar("_Item")


class Events:
    """The streams of all projects, for those who read them."""

    def __init__(
        self,
        hub: Hub,
        streams: EventStreams,
        *,
        archive: SegmentArchive | None = None,
        ended: Ended | None = None,
    ) -> None:
        self._hub = hub
        self._stored = Stored(streams, archive)
        self._ended = ended

    def command_reader(
        self, project_id: str, command_id: str, after: str | None = None, *, field: str = "after"
    ) -> Reader | None:
        """A reader of a command's events after an id (None or `0`: from the beginning).

        None: that client has seen command.finished; there is nothing to come back for. Raises
        InvalidRequest naming `field` for what is no id, StoreUnavailable at once if Redis does
        not answer now (once open, a reader outlives that)."""
        seen = EntryId.parse(after, field) if after else START
        tail = self._stored.tail(project_id, command_id)
        if seen != START and self._is_over(project_id, command_id, seen, tail):
            return None
        history = CommandHistory(
            self._stored,
            self._hub.encode,
            (project_id, command_id),
            seen,
            ended=self._ended,
            breaks=lambda: self._hub.breaks,
            again_s=_TICKS * self._hub.tick_s,
        )
        return Reader(self._hub, history, project_id, command_id)

    def project_reader(
        self, project_id: str, after: str | None = None, *, field: str = "after"
    ) -> Reader:
        """A reader of all of a project's events after an id; None: from now on; `0`: from what
        is kept. Raises as `command_reader`."""
        if after:
            seen = EntryId.parse(after, field)
        else:
            seen = self._hub.feed.latest([project_id])[project_id]
        return Reader(
            self._hub, ProjectHistory(self._hub, self._stored, project_id, seen), project_id, None
        )

    def wait_finished(self, project_id: str, command_id: str, timeout_s: float) -> bool:
        """Whether the command's end was announced within `timeout_s`. Reads no output."""
        deadline = time.monotonic() + timeout_s
        bell = Bell()
        self._hub.await_end(project_id, command_id, bell)
        try:
            while not self._stored.tail(project_id, command_id).finished:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return False
                rung = bell.wait(min(left_s, TICK_S))
                if not rung and self._ended and self._ended(project_id, command_id):
                    return True  # and Redis lost that
            return True
        finally:
            self._hub.forgo_end(project_id, command_id, bell)

    def tail(self, project_id: str, command_id: str) -> Tail:
        """How many bytes are stored, and whether there will be more."""
        return self._stored.tail(project_id, command_id)

    def output(
        self, project_id: str, command_id: str, stream: str, start: int = 0, end: int | None = None
    ) -> Iterator[bytes]:
        """The bytes `start` to `end` (None: to what is stored now) of `stdout`, `stderr` or
        `all` (both in stored order), page by page. All up to `end` must have been
        written: exactly that is given, or it raises.

        Raises Gone at once if the first of them are no longer kept, StoreUnavailable if they may
        come back, and either while iterating if later ones are missing: what was given out is
        then short, never wrong."""
        if end is None:
            end = size_of(self._stored.tail(project_id, command_id).position, stream)
        return _begun(self._pieces(project_id, command_id, stream, start, end))

    def entries(
        self, project_id: str, command_id: str, totals: Position | None = None
    ) -> Iterator[Entry]:
        """The entries with output that are stored now, in order, page by page; with `totals` all up
        to there. Raises as `output` does."""
        last = self._stored.tail(project_id, command_id).last_id
        if totals is not None:
            last = output_id(totals) if totals != NOTHING else START
        return _begun(self._entries(project_id, command_id, last))

    def _entries(self, project_id: str, command_id: str, last: EntryId) -> Iterator[Entry]:
        after, at = START, NOTHING
        while after < last:
            page, _ = self._stored.read(project_id, command_id, after, count=_PAGE)
            for entry in page:
                if entry.start != at:
                    raise Gone("A part of this command's output is no longer kept.")
                after, at = entry.id, entry.end
                if entry.stream:
                    yield entry
            if not page:
                self._look_again(project_id, command_id)

    def _pieces(
        self, project_id: str, command_id: str, stream: str, at: int, stop: int
    ) -> Iterator[bytes]:
        after = START
        if at < stop:
            after = self._stored.begin(project_id, command_id, stream, at)
        while at < stop:
            page, _ = self._stored.read(project_id, command_id, after, count=_PAGE)
            if not page:
                self._look_again(project_id, command_id)
                continue
            after = page[-1].id
            for entry in page:
                if at < stop and entry.stream and stream in (entry.stream, "all"):
                    piece = _overlap(entry, stream, at, stop)
                    at += len(piece)
                    if piece:
                        yield piece

    def _look_again(self, project_id: str, command_id: str) -> None:
        """There is nothing more to read where there should be. Returns where there may be now;
        else raises why not."""
        if self._ended is not None and self._ended(project_id, command_id) is None:
            raise StoreUnavailable(
                "This output is being brought back after a store lost it. "
                "Try again after `Retry-After`."
            )
        if self._ended is None or not self._stored.drop_remnant(project_id, command_id):
            raise Gone("This command's output is no longer kept.")

    def _is_over(self, project_id: str, command_id: str, seen: EntryId, tail: Tail) -> bool:
        """Whether that client was given its end. Who has seen more than there is, as before a power
        cut, was not."""
        if tail.finished:
            return seen == tail.last_id
        if seen > tail.last_id and self._ended is not None:  # Redis lost some of it
            record = self._ended(project_id, command_id)
            return record is not None and seen == finished_id(record.totals)
        return False


def _begun(items: Iterator[_Item]) -> Iterator[_Item]:
    """The same, with the first already there: what is wrong with it is raised now, while a
    response can still say so."""
    first = next(items, None)
    return chain(() if first is None else (first,), items)


def _overlap(entry: Entry, stream: str, at: int, stop: int) -> bytes:
    """The entry's bytes from `at` on. Raises Gone if it begins beyond."""
    begins = entry.start.stdout + entry.start.stderr if stream == "all" else entry.offset
    if begins > at:
        raise Gone(f"Bytes {at} to {min(begins, stop) - 1} of this output are no longer kept.")
    return entry.data[at - begins : stop - begins]
