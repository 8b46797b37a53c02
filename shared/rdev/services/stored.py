"""A command's stream, wherever its parts lie: what Redis holds no more is read from the archive,
without the reader noticing. Entries come end to end; a hole is where both have nothing.
"""

import time
from bisect import bisect_right
from collections.abc import Sequence

from rdev.domain.commands import Position
from rdev.domain.events import NOTHING, START, Entry, EntryId, Tail, output_id, position_of
from rdev.domain.following import unseen
from rdev.domain.segments import Segment, begin_near, end_of, next_after, reaches, size_of
from rdev.ports import EventStreams, SegmentArchive
from rdev.services.shelf import Place, Shelf

_KEPT_S = 900
"""Should it be whole all the same, as another one just filled it again."""


class Stored:
    """Raises StoreUnavailable where Redis does, and where only the archive could answer and
    does not. The archive is not asked for what Redis holds."""

    def __init__(self, streams: EventStreams, archive: SegmentArchive | None = None) -> None:
        self._streams = streams
        self._shelf = Shelf(archive) if archive is not None else None

    def tail(self, project_id: str, command_id: str) -> Tail:
        """How much is stored."""
        tail = self._streams.tail(project_id, command_id)
        if tail.last_id != START:
            return tail
        return self._archived_tail((project_id, command_id), time.monotonic())

    def read(
        self, project_id: str, command_id: str, after: EntryId, *, count: int = 16
    ) -> tuple[list[Entry], Tail | None]:
        """Up to `count` entries after an id, end to end; if there are none, how the stream ends.

        The first begins where `after` ends, unless what lies between is kept nowhere."""
        place = (project_id, command_id)
        page = self._streams.read(*place, after, count=count)
        live: list[Entry] = []
        while page and reaches(page[0].start, position_of(after)):
            live = _resumed(page, after)
            if live:
                return live, None
            # Seen already, in another cut.
            page = self._streams.read(*place, page[-1].id, count=count)
        tail = None
        if not page:
            tail = self._streams.tail(*place)
            if tail.last_id != START and reaches(position_of(after), tail.position):
                return [], tail
        since = time.monotonic()  # what Redis held no more before was archived before
        archived = self._archived(place, after, count, since)
        if archived and (not page or _continues(archived[0], after, instead_of=page[0])):
            return archived, None
        if page:
            return page, None
        assert tail is not None
        return [], max(tail, self._archived_tail(place, since), key=lambda found: found.last_id)

    def drop_remnant(self, project_id: str, command_id: str) -> bool:
        """Of a command all of whose stream is archived: have Redis drop what it holds of that
        without its end, as after a power cut, where it had not put the rest on the disk yet.
        Whether there was any."""
        tail = self._streams.tail(project_id, command_id)
        if tail.finished or tail.last_id == START:
            return False
        self._streams.forget(project_id, command_id, after_s=_KEPT_S)
        return True

    def begin(self, project_id: str, command_id: str, stream: str, at: int) -> EntryId:
        """An id to read after, so as to come soon to byte `at` of `stdout`, `stderr` or `all`."""
        if at == 0:
            return START
        place = (project_id, command_id)
        first = self._streams.read(*place, START, count=1)
        if first and size_of(first[0].start, stream) <= at:
            if stream == "stdout":  # the entry that holds it is the first above this id
                first = self._streams.read(*place, EntryId(at + 1, 2**62), count=1) or first
            return _id_before(first[0].start)
        if self._shelf is None:
            return START
        return begin_near(self._shelf.names(place, since=time.monotonic()), stream, at)

    def look_up(
        self, project_id: str, command_id: str, wanted: Sequence[EntryId]
    ) -> dict[EntryId, Entry]:
        """Those of these entries that the archive holds, cut as they were."""
        found: dict[EntryId, Entry] = {}
        since = time.monotonic()
        for entry_id in sorted(wanted):
            if entry_id in found:
                continue
            major, minor = entry_id  # a byte before its end: in the same segment, if there is one
            within = EntryId(major, minor - 1) if minor else EntryId(major - 1, 0)
            segment = self._segment((project_id, command_id), within, since)
            entries = segment.entries if segment else ()
            found.update((entry.id, entry) for entry in entries if entry.id in wanted)
        return found

    def _archived(self, place: Place, after: EntryId, count: int, since: float) -> list[Entry]:
        """Entries after an id, or else the first ones beyond a hole."""
        segment = self._segment(place, after, since)
        return _page(segment.entries, after, count) if segment else []

    def _segment(self, place: Place, after: EntryId, since: float) -> Segment | None:
        """Where it goes on after an id. Any older listing will do if it shows that."""
        if self._shelf is None:
            return None
        for begun in (0.0, since, since):  # a second time where one was gone or damaged
            name = next_after(self._shelf.names(place, since=begun), after)
            if name is None or not (begun or reaches(name.start, position_of(after))):
                continue
            segment = self._shelf.segment(place, name)
            if segment is not None:
                return segment
        return None

    def _archived_tail(self, place: Place, since: float) -> Tail:
        if self._shelf is None:
            return Tail()
        return end_of(self._shelf.names(place, since=since))


def _page(entries: Sequence[Entry], after: EntryId, count: int) -> list[Entry]:
    at = bisect_right(entries, after, key=lambda entry: entry.id)
    if at < len(entries) and entries[at].start == position_of(after):
        return list(entries[at : at + count])
    if not reaches(entries[0].start, position_of(after)):
        return list(entries[:count])
    return _resumed(entries, after, count)


def _resumed(entries: Sequence[Entry], after: EntryId, count: int | None = None) -> list[Entry]:
    """What a reader who has seen `after` has not seen of these, addressed end to end. They were
    cut in one piece, and `after` may come from another cut."""
    if entries[0].id > after and entries[0].start == position_of(after):
        return list(entries[:count])
    parts: list[Entry] = []
    for entry in entries:
        part = unseen(after, entry)
        if part is not None:
            parts.append(part)
            after = part.id
            if len(parts) == count:
                break
    return parts


def _continues(entry: Entry, after: EntryId, *, instead_of: Entry) -> bool:
    """Whether there is no hole before it, or a smaller one."""
    if reaches(entry.start, position_of(after)):
        return True
    return size_of(entry.start, "all") < size_of(instead_of.start, "all")


def _id_before(start: Position) -> EntryId:
    return START if start == NOTHING else output_id(start)
