"""Events: the entries of a command's and a project's stream, and how they are addressed. Pure.

In a command's stream an id counts bytes. `command.queued` is 0-1, `command.started` 0-2, output
`<stdout bytes + 1>-<stderr bytes>` after it, `command.finished` `<stdout + 1>-<stderr + 1>`.
So an id names two byte offsets, and the last one says exactly what is stored.
"""

import base64
import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from rdev.domain.commands import Position
from rdev.errors import InvalidRequest

QUEUED = "command.queued"
STARTED = "command.started"
FINISHED = "command.finished"
OUTPUT = "output"
CLAUDE = "claude.message"
GAP = "gap"

STDOUT = "stdout"
STDERR = "stderr"

_ID = re.compile(r"(\d{1,18})-(\d{1,18})", re.ASCII)
_UTF8 = codecs.getincrementaldecoder("utf-8")


class EntryId(NamedTuple):
    """An id of a stream's entry, as Redis has them: ordered, `major-minor`."""

    major: int = 0
    minor: int = 0

    @classmethod
    def parse(cls, text: str, field: str = "after") -> "EntryId":
        """The id a client sent; `0` is the beginning. Raises InvalidRequest naming `field`."""
        if text == "0":
            return START
        match = _ID.fullmatch(text)
        if match is None:
            raise InvalidRequest.field(field, "must be 0 or an event's id, such as 1024-0")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of(cls, raw: bytes) -> "EntryId":
        """The id as Redis sends it."""
        major, _, minor = raw.partition(b"-")
        return cls(int(major), int(minor))

    def __str__(self) -> str:
        return f"{self.major}-{self.minor}"


START = EntryId(0, 0)
NOTHING = Position()


def position_of(entry_id: EntryId) -> Position:
    """The bytes seen by who has seen everything up to this output (or earlier) id."""
    return Position(entry_id.major - 1, entry_id.minor) if entry_id.major else NOTHING


def output_id(position: Position) -> EntryId:
    """The id of the output entry that ends at `position`."""
    return EntryId(position.stdout + 1, position.stderr)


def finished_id(totals: Position) -> EntryId:
    """The id of the command.finished of a command that wrote `totals`."""
    return EntryId(totals.stdout + 1, totals.stderr + 1)


class Announced(StrEnum):
    """What became of a state event."""

    ADDED = "added"
    REPEAT = "repeat"
    """It, or something later, is already there: nothing was added, nothing is missing."""
    BEHIND = "behind"
    """command.finished only: the stream does not hold exactly the totals given. Nothing was
    added; append from `tail` on, then announce again."""


@dataclass(frozen=True, slots=True)
class Tail:
    """How much of a command's stream is stored. An empty `last_id`: nothing at all."""

    position: Position = NOTHING
    finished: bool = False
    last_id: EntryId = START


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes to append, and where they begin. `type` is `output`, or `claude.message` for one
    whole line of JSON, its newline included."""

    stream: str
    at: Position
    data: bytes
    type: str = OUTPUT


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a command's stream. `data`: the bytes of output, else JSON in ASCII."""

    id: EntryId
    type: str
    data: bytes
    stream: str = ""

    @property
    def end(self) -> Position:
        """What has been written when this entry is seen."""
        if self.type == FINISHED:
            return Position(self.id.major - 1, self.id.minor - 1)
        return position_of(self.id)

    @property
    def start(self) -> Position:
        """What had been written before it."""
        end = self.end
        if self.stream == STDOUT:
            return Position(end.stdout - len(self.data), end.stderr)
        if self.stream == STDERR:
            return Position(end.stdout, end.stderr - len(self.data))
        return end

    @property
    def offset(self) -> int:
        """Where its bytes begin in their own stream."""
        return self.start.stdout if self.stream == STDOUT else self.start.stderr


@dataclass(frozen=True, slots=True)
class Notice:
    """One entry of a project's stream: a state event whole, or a pointer to output."""

    id: EntryId
    previous: EntryId
    """The entry before it, so that nobody skips one unseen. 0-0: the stream's first."""
    command_id: str
    entry_id: EntryId
    """The entry of the command's stream that it tells of."""
    type: str
    data: bytes = b""


def to_json(data: Mapping[str, Any]) -> bytes:
    """JSON in one line of ASCII: what may stand behind `data:` without a second thought."""
    return json.dumps(data, ensure_ascii=True, separators=(",", ":")).encode()


def render(entry: Entry, command_id: str) -> bytes:
    """The JSON that a client gets as this entry's data."""
    if entry.type == CLAUDE:
        return _render_claude(entry, command_id)
    if not entry.stream:
        return entry.data
    body: dict[str, Any] = {
        "command_id": command_id,
        "stream": entry.stream,
        "offset": entry.offset,
    }
    try:
        body["data"] = entry.data.decode("utf-8")
    except UnicodeDecodeError:
        body["data"] = base64.b64encode(entry.data).decode("ascii")
        body["encoding"] = "base64"
    return to_json(body)


def _render_claude(entry: Entry, command_id: str) -> bytes:
    try:
        message = json.loads(entry.data)
    except ValueError:  # a flag set wrongly must not cost the bytes
        message = {"type": "unparsed", "text": entry.data.decode("utf-8", "replace")}
    return to_json({"command_id": command_id, "offset": entry.offset, "message": message})


def gap(command_id: str, since: EntryId, until: EntryId, reason: str) -> Entry:
    """Says that what lies after `since`, up to `until`, can no longer be had."""
    body: dict[str, Any] = {"from": str(since), "to": str(until), "reason": reason}
    if command_id:
        body = {"command_id": command_id, **body}
    return Entry(until, GAP, to_json(body))


def split_utf8(data: bytes, *, final: bool = False) -> int:
    """How many of `data`'s bytes may be sent so that no character is split.

    Fewer than all only if the end may yet become a character; bytes that are no UTF-8 are not
    held back. `final`: nothing will follow, so all of them."""
    if final:
        return len(data)
    decoder = _UTF8("ignore")
    decoder.decode(data[-3:])
    return len(data) - len(decoder.getstate()[0])
