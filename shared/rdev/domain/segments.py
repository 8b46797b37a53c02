"""Segments: pieces of a command's stream as the archive keeps them. Pure: bytes in, bytes out;
compression and the store are the adapter's.

A segment is NDJSON: a header with the SHA-256 of all that follows it, then a line an entry. Its
name says from which byte to which it reaches, so a listing alone tells what is archived. The same
bytes may lie in several segments, cut differently, where several runners archived: readers take
what continues where they are and leave the rest.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rdev.domain.commands import Position
from rdev.domain.events import (
    FINISHED,
    NOTHING,
    START,
    Entry,
    EntryId,
    Tail,
    finished_id,
    output_id,
    position_of,
)
from rdev.errors import SegmentDamaged

_FORMAT = 1
_DIGITS = 18
_NAME = re.compile(
    rf"(\d{{{_DIGITS}}})-(\d{{{_DIGITS}}})_(\d{{{_DIGITS}}})-(\d{{{_DIGITS}}})(\.end)?"
)
_CONTROL = bytes(set(range(0x20)) - set(b"\t\n\r"))
"""What JSON writes as six characters each."""
_MOST_CONTROL = 1 / 16


def reaches(start: Position, at: Position) -> bool:
    """Whether what begins at `start` follows what was read up to `at` without a hole."""
    return start.stdout <= at.stdout and start.stderr <= at.stderr


@dataclass(frozen=True, slots=True)
class SegmentName:
    """From where to where a segment reaches; `finished`: command.finished is its last entry."""

    start: Position
    end: Position
    finished: bool = False

    def __str__(self) -> str:
        numbers = (self.start.stdout, self.start.stderr, self.end.stdout, self.end.stderr)
        padded = [f"{number:0{_DIGITS}}" for number in numbers]
        return "{}-{}_{}-{}".format(*padded) + (".end" if self.finished else "")

    @classmethod
    def parse(cls, text: str) -> "SegmentName | None":
        """None for what is no name of a segment."""
        match = _NAME.fullmatch(text)
        if match is None:
            return None
        a, b, c, d = (int(number) for number in match.groups()[:4])
        return cls(Position(a, b), Position(c, d), match[5] is not None)

    def goes_beyond(self, after: EntryId) -> bool:
        """Whether it holds anything that a reader who has seen `after` has not."""
        if self.finished and after < finished_id(self.end):
            return True
        return not reaches(self.end, position_of(after))


@dataclass(frozen=True, slots=True)
class Segment:
    """Entries that lie end to end; at least one."""

    entries: tuple[Entry, ...]

    @property
    def name(self) -> SegmentName:
        last = self.entries[-1]
        return SegmentName(self.entries[0].start, last.end, last.type == FINISHED)

    @property
    def size(self) -> int:
        """How many bytes its entries carry."""
        return sum(len(entry.data) for entry in self.entries)


def next_after(names: Iterable[SegmentName], after: EntryId) -> SegmentName | None:
    """Where to read on after an id: the segment that continues there with the least overlap, or
    else the first one beyond the hole."""
    at = position_of(after)
    ahead = [name for name in names if name.goes_beyond(after)]
    continuing = [name for name in ahead if reaches(name.start, at)]
    if continuing:
        return max(continuing, key=lambda name: _size(name.start))
    return min(ahead, key=lambda name: _size(name.start), default=None)


def tail_of(names: Iterable[SegmentName]) -> Tail:
    """How far the archive reaches without a hole, as a stream's tail."""
    at, finished, before = NOTHING, False, None
    ordered = sorted(names, key=lambda name: _size(name.start))
    while at != before:  # one pass, and another to see that it was enough
        before = at
        for name in ordered:
            if reaches(name.start, at):
                at = Position(max(at.stdout, name.end.stdout), max(at.stderr, name.end.stderr))
                finished = finished or name.finished
    return _tail(at, finished=finished)


def _tail(at: Position, *, finished: bool) -> Tail:
    if finished:
        return Tail(at, True, finished_id(at))
    return Tail(at, False, output_id(at) if at != NOTHING else START)


def end_of(names: Sequence[SegmentName]) -> Tail:
    """How far the archive reaches, past any hole."""
    at = Position(
        max((name.end.stdout for name in names), default=0),
        max((name.end.stderr for name in names), default=0),
    )
    return _tail(at, finished=any(name.finished for name in names))


def begin_near(names: Iterable[SegmentName], stream: str, at: int) -> EntryId:
    """An id after which byte `at` of `stdout`, `stderr` or `all` comes soon."""
    before = [name for name in names if size_of(name.start, stream) <= at]
    nearest = max(before, key=lambda name: _size(name.start), default=None)
    return START if nearest is None or nearest.start == NOTHING else output_id(nearest.start)


def size_of(position: Position, stream: str) -> int:
    """How many bytes of `stdout`, `stderr` or `all` lie before a position."""
    if stream == "stdout":
        return position.stdout
    return position.stderr if stream == "stderr" else _size(position)


def _size(position: Position) -> int:
    return position.stdout + position.stderr


# --- the format ----------------------------------------------------------------------------------


def encode(project_id: str, command_id: str, segment: Segment) -> bytes:
    """A segment as NDJSON."""
    body = b"".join(_line(_fields(entry)) for entry in segment.entries)
    header = {
        "rdev.segment": _FORMAT,
        "project": project_id,
        "command": command_id,
        "name": str(segment.name),
        "entries": len(segment.entries),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    return _line(header) + body


def decode(project_id: str, command_id: str, name: SegmentName, content: bytes) -> Segment:
    """The segment that was encoded, exactly. Raises SegmentDamaged for anything else."""
    head, _, body = content.partition(b"\n")
    try:
        header = json.loads(head)
        asked = (_FORMAT, project_id, command_id, str(name))
        found = tuple(header.get(k) for k in ("rdev.segment", "project", "command", "name"))
        if asked != found:
            raise SegmentDamaged(f"it says that it is {found}")
        if hashlib.sha256(body).hexdigest() != header.get("sha256"):
            raise SegmentDamaged("its checksum is wrong")
        segment = Segment(tuple(_entry(json.loads(line)) for line in body.split(b"\n")[:-1]))
        if len(segment.entries) != header.get("entries") or segment.name != name:
            raise SegmentDamaged("it does not hold what its name says")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as exc:
        raise SegmentDamaged(f"it is no segment ({type(exc).__name__})") from exc
    _check_end_to_end(segment.entries)
    return segment


def _check_end_to_end(entries: Sequence[Entry]) -> None:
    at = entries[0].start
    for entry in entries:
        if entry.start != at:
            raise SegmentDamaged(f"entry {entry.id} does not follow the one before it")
        at = entry.end


def _fields(entry: Entry) -> dict[str, Any]:
    fields = {"id": str(entry.id), "type": entry.type}
    if entry.stream:
        fields["stream"] = entry.stream
    return fields | _data(entry.data)


def _data(data: bytes) -> dict[str, str]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        if _is_terse(data):
            return {"data": text}
    return {"base64": base64.b64encode(data).decode("ascii")}


def _is_terse(data: bytes) -> bool:
    """Whether JSON writes it about as short as it is."""
    return len(data) - len(data.translate(None, _CONTROL)) <= len(data) * _MOST_CONTROL


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _entry(fields: dict[str, str]) -> Entry:
    entry_id = EntryId.of(fields["id"].encode())
    data = (
        base64.b64decode(fields["base64"], validate=True)
        if "base64" in fields
        else fields["data"].encode()
    )
    return Entry(entry_id, fields["type"], data, fields.get("stream", ""))
