"""What one client has not seen yet of a command's stream, however its entries were cut. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from rdev.domain.commands import Position
from rdev.domain.events import (
    FINISHED,
    OUTPUT,
    START,
    STDOUT,
    Entry,
    EntryId,
    Tail,
    gap,
    output_id,
    position_of,
)


def unseen(seen: EntryId, entry: Entry) -> Entry | None:
    """The part of `entry` that a client who has seen `seen` has not, or None.

    Its id is the client's new position, which differs from the entry's own where the stream
    was rebuilt with its entries cut or ordered differently."""
    if not entry.stream:
        return entry if entry.type == FINISHED or entry.id > seen else None
    has, end = position_of(seen), entry.end
    out = entry.stream == STDOUT
    known, upto = (has.stdout, end.stdout) if out else (has.stderr, end.stderr)
    if upto <= known:
        return None
    skip = max(0, known - entry.offset)
    position = Position(end.stdout, has.stderr) if out else Position(has.stdout, end.stderr)
    new_id = output_id(position)
    if not skip and new_id == entry.id:
        return entry
    kind = OUTPUT if skip else entry.type
    return replace(entry, id=new_id, data=entry.data[skip:], type=kind)


def missing(
    seen: EntryId, start: Position, command_id: str, reason: str = "trimmed"
) -> Entry | None:
    """The gap between what a client has seen and where the stored bytes begin, if there is one."""
    has = position_of(seen)
    to = Position(max(has.stdout, start.stdout), max(has.stderr, start.stderr))
    return None if to == has else gap(command_id, seen, output_id(to), reason)


class Follower:
    """Walks one command's stream for one client: fed with pages read after `read_after`, it
    gives what the client has not seen. It trusts the order of bytes, never the ids alone: where
    an entry does not begin where the one before it ended, it starts over from the beginning,
    and calls a gap only what is missing even then."""

    def __init__(self, command_id: str, seen: EntryId) -> None:
        self.command_id = command_id
        self.seen = seen
        self.read_after = seen
        self.ended = False
        self._at: Position | None = position_of(seen)
        self._doubted: EntryId | None = None
        self._awaited: EntryId | None = None

    @property
    def in_step(self) -> bool:
        """The client has seen exactly what the stream holds up to where we read."""
        return self.seen == self.read_after

    def jump(self, seen: EntryId) -> None:
        """The client was given everything up to `seen` by other means, in step."""
        self.seen = self.read_after = seen
        self._at = position_of(seen)

    def take(self, page: Sequence[Entry]) -> list[Entry]:
        """The unseen parts of a page. May set `read_after` back: then read on from there."""
        events: list[Entry] = []
        for index, entry in enumerate(page):
            if self._at != entry.start and self._doubts(index, entry):
                break
            self._pass(entry, events)
            if self.ended:
                break
        return events

    def exhausted(self, tail: Tail) -> bool:
        """Tell it that nothing lies after `read_after`. False: it starts over, as the stream
        is not the one it read before (Redis lost its data)."""
        if tail.last_id == self.read_after:
            return True
        if tail.last_id > self.read_after:
            # Written between the two looks, unless a second look finds nothing either.
            again, self._awaited = self._awaited, tail.last_id
            return again == tail.last_id
        self._start_over()
        return tail.last_id == START

    def _doubts(self, index: int, entry: Entry) -> bool:
        """Whether to look again from the beginning before believing in a hole."""
        fresh = self._at is None or index > 0 or self._doubted == entry.id
        if fresh:
            return False
        self._doubted = entry.id
        self._start_over()
        return True

    def _start_over(self) -> None:
        self.read_after, self._at = START, None

    def _pass(self, entry: Entry, events: list[Entry]) -> None:
        hole = missing(self.seen, entry.start, self.command_id)
        if hole is not None:
            events.append(hole)
            self.seen = hole.id
        part = unseen(self.seen, entry)
        if part is not None:
            events.append(part)
            self.seen = part.id
        self.read_after, self._at = entry.id, entry.end
        if self._doubted is not None and entry.id >= self._doubted:
            self._doubted = None
        self.ended = entry.type == FINISHED
