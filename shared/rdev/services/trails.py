"""One command's way into the archive: what Redis has and the archive has not, segment by segment.

It goes by bytes, as readers do, so it may begin anywhere: after another runner, after Redis lost
its data, or a second time over the same bytes.
"""

import copy
import logging
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rdev.domain.commands import Position
from rdev.domain.events import (
    FINISHED,
    GAP,
    NOTHING,
    START,
    Entry,
    EntryId,
    finished_id,
    output_id,
    position_of,
)
from rdev.domain.following import Follower
from rdev.domain.segments import Segment, size_of, tail_of
from rdev.ports import EventStreams, SegmentArchive

log = logging.getLogger(__name__)

SEGMENT_BYTES = 4 * 1024 * 1024
KEPT_BYTES = 8 * 1024 * 1024
"""How much Redis goes on holding of what is archived: readers that lag a little stay out of the
archive. With what piles up while a segment is stored it stays below 16 MB."""
_PAGE = 8
"""Entries read at once: 2 MB at most."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """Everything up to this entry of the stream is archived."""

    entry_id: EntryId
    position: Position


class Trail:
    """Not for several threads at once: hold `lock`. Every method raises StoreUnavailable; then
    nothing was passed over."""

    def __init__(
        self,
        streams: EventStreams,
        archive: SegmentArchive,
        place: tuple[str, str],
        *,
        untouched: bool = False,
    ) -> None:
        """`untouched`: nothing of it can be in the archive yet, so that need not be asked."""
        self.lock = threading.Lock()
        self.place = place
        self.complete = False
        """command.finished is archived, and all before it that could be had."""
        self._streams = streams
        self._archive = archive
        self._follower = Follower(place[1], START) if untouched else None
        self._marks: deque[_Mark] = deque()

    @property
    def archived(self) -> Position:
        """Up to where it is known to be archived."""
        return position_of(self._follower.seen) if self._follower else NOTHING

    def begin(self) -> None:
        """Find out how far the archive reaches."""
        if self._follower is not None:
            return
        tail = tail_of(self._archive.segments(*self.place))
        seen = tail.last_id if not tail.finished else output_id(tail.position)
        self._follower = Follower(self.place[1], seen)
        self._marks.append(_Mark(seen, tail.position))
        self.complete = tail.finished

    def store(self) -> bool:
        """Read on in Redis and store a segment. False: there was nothing to read."""
        self.begin()
        assert self._follower is not None
        follower = copy.copy(self._follower)
        entries = list(self._collect(follower))
        for segment in _segments(entries):
            self._archive.store(*self.place, segment)
        moved = follower.read_after != self._follower.read_after
        self._follower = follower
        self.complete = follower.ended
        if moved and not follower.ended:
            self._marks.append(_Mark(follower.read_after, position_of(follower.read_after)))
        return moved or bool(entries)

    def trim(self, written: Position) -> None:
        """Have Redis forget what is archived and not among the last bytes."""
        cut = None
        while self._marks and _size(written) - _size(self._marks[0].position) >= KEPT_BYTES:
            cut = self._marks.popleft()
        if cut is not None and cut.entry_id != START:
            self._streams.trim_to(*self.place, cut.entry_id)

    def conclude(self, totals: Position, data: bytes) -> None:
        """Store the end by itself, where Redis and the workspace lost the stream before it."""
        self._archive.store(*self.place, Segment((Entry(finished_id(totals), FINISHED, data),)))
        self.complete = True

    def _collect(self, follower: Follower) -> Iterator[Entry]:
        size = 0
        while size < SEGMENT_BYTES and not follower.ended:
            page = self._streams.read(*self.place, follower.read_after, count=_PAGE)
            if not page and follower.exhausted(self._streams.tail(*self.place)):
                return
            for entry in follower.take(page):
                size += len(entry.data)
                yield entry


def _segments(entries: Iterable[Entry]) -> Iterator[Segment]:
    """One, unless there is a hole: what Redis no longer held and the archive never got."""
    together: list[Entry] = []
    for entry in entries:
        if entry.type != GAP:
            together.append(entry)
            continue
        log.error("a part of a stream is gone, and was not archived: %s", entry.data.decode())
        if together:
            yield Segment(tuple(together))
        together = []
    if together:
        yield Segment(tuple(together))


def _size(position: Position) -> int:
    return size_of(position, "all")
