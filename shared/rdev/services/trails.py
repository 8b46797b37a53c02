"""One command's way into the archive: what Redis has and the archive has not, segment by segment.

It goes by bytes, as readers do, so it may begin anywhere: after another runner, after Redis lost
its data, or a second time over the same bytes.
"""

import copy
import logging
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rdev.domain.commands import Position
from rdev.domain.events import (
    FINISHED,
    GAP,
    START,
    Entry,
    EntryId,
    finished_id,
    output_id,
    position_of,
)
from rdev.domain.following import Follower
from rdev.domain.segments import Segment, size_of, tail_of
from rdev.failpoints import reach
from rdev.ports import EventStreams, SegmentArchive

log = logging.getLogger(__name__)

Place = tuple[str, str]
"""A project's and a command's id."""

SEGMENT_BYTES = 4 * 1024 * 1024
_SMALL_BYTES = 8 * 1024


@dataclass(frozen=True, slots=True)
class Sizes:
    segment_bytes: int = SEGMENT_BYTES
    """About how much one segment holds."""
    kept_bytes: int = 4 * 1024 * 1024
    """How much Redis goes on holding of what is archived, or a segment more: readers that lag a
    little stay out of the archive."""
    few: int = 16
    many: int = 256
    """Entries read at once: they may be large, and many are small."""


_SIZES = Sizes()


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
        place: Place,
        *,
        untouched: bool = False,
        sizes: Sizes = _SIZES,
    ) -> None:
        """`untouched`: nothing of it can be in the archive yet, so that need not be asked."""
        self.lock = threading.Lock()
        self.place = place
        self.complete = False
        """command.finished is archived, and all before it that could be had."""
        self._streams = streams
        self._archive = archive
        self._sizes = sizes
        self._follower = Follower(place[1], START) if untouched else None
        self._marks: deque[_Mark] = deque()

    @property
    def read_to(self) -> int:
        """How many bytes of the stream are dealt with."""
        return _size(position_of(self._follower.read_after)) if self._follower else 0

    def begin(self) -> None:
        """Find out how far the archive reaches."""
        if self._follower is not None:
            return
        tail = tail_of(self._archive.segments(*self.place))
        seen = tail.last_id if not tail.finished else output_id(tail.position)
        self._follower = Follower(self.place[1], seen)
        self._marks.append(_Mark(seen, tail.position))
        self.complete = tail.finished

    def look_again(self) -> bool:
        """Forget what we took for certain: Redis may have lost it after an earlier runner archived
        it. Whether all of it is archived."""
        self._follower = None
        self._marks.clear()
        self.begin()
        return self.complete

    def store(self) -> bool:
        """Read on in Redis and store a segment. False: there was nothing to read."""
        self.begin()
        if self.complete:
            return False
        assert self._follower is not None
        follower = copy.copy(self._follower)
        entries = list(self._collect(follower))
        for segment in _segments(entries):
            self._archive.store(*self.place, segment)
        reach("archive.stored")
        moved = follower.read_after not in (START, self._follower.read_after)
        self._follower = follower
        self.complete = follower.ended
        if moved and not follower.ended:
            self._note(_Mark(follower.read_after, position_of(follower.read_after)))
        return moved

    def trim(self) -> None:
        """Have Redis forget what is archived, but for the last of it."""
        cut = None
        while self._marks and self._since(self._marks[0]) >= self._sizes.kept_bytes:
            cut = self._marks.popleft()
        if cut is not None and cut.entry_id != START:
            self._streams.trim_to(*self.place, cut.entry_id)

    def _note(self, mark: _Mark) -> None:
        if self._marks and _size(mark.position) < _size(self._marks[-1].position):
            self._marks.clear()  # Redis lost the stream, and it is being filled again
        self._marks.append(mark)

    def _since(self, mark: _Mark) -> int:
        return _size(self._marks[-1].position) - _size(mark.position)

    def conclude(self, totals: Position, data: bytes) -> None:
        """Store the end by itself, where Redis and the workspace lost the stream before it."""
        self._archive.store(*self.place, Segment((Entry(finished_id(totals), FINISHED, data),)))
        self.complete = True

    def _collect(self, follower: Follower) -> Iterator[Entry]:
        size, wanted, count = 0, self._sizes.segment_bytes, self._sizes.few
        while size < wanted and not follower.ended:
            page = self._streams.read(*self.place, follower.read_after, count=count)
            if not page and follower.exhausted(self._streams.tail(*self.place)):
                return
            for entry in follower.take(page):
                size += len(entry.data)
                yield entry
            count = self._count(page, wanted - size)

    def _count(self, page: Sequence[Entry], wanted: int) -> int:
        """How many entries to read next, by those just read."""
        largest = max((len(entry.data) for entry in page), default=_SMALL_BYTES)
        if largest < _SMALL_BYTES:
            return self._sizes.many
        return max(1, min(self._sizes.few, wanted // largest))


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
