"""Events as values, from what SSE carried. Pure: no sockets."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rdev.client.errors import NotRdev
from rdev.client.records import Command


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a stream. `id` is what to resume from; types that this client does not know
    (a newer server's) arrive as plain Events."""

    id: str
    type: str
    data: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Output(Event):
    """Bytes that a command wrote, from `offset` on in its `stream` (stdout or stderr)."""

    command_id: str
    stream: str
    offset: int
    content: bytes


@dataclass(frozen=True, slots=True)
class StateChange(Event):
    """command.queued, command.started or command.finished, with the record as it was then."""

    command: Command

    @property
    def finished(self) -> bool:
        return self.type == "command.finished"


@dataclass(frozen=True, slots=True)
class Gap(Event):
    """What can no longer be had. The stream goes on behind it."""

    reason: str


def parse(id_: str, type_: str, text: str) -> Event:
    """The event in one SSE message. Raises NotRdev where the data is no event of rdev's."""
    try:
        data = json.loads(text)
        if not isinstance(data, dict):
            raise TypeError(data)
        if type_ == "output" and "data" in data:
            return _output(id_, data)
        if type_ in ("command.queued", "command.started", "command.finished"):
            record = data["command"] if isinstance(data.get("command"), Mapping) else data
            return StateChange(id_, type_, data, Command.parse(record))
        if type_ == "gap":
            return Gap(id_, type_, data, str(data.get("reason") or "unknown"))
        return Event(id_, type_, data)
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise NotRdev(f"the server sent a {type_!r} event that cannot be read") from exc


def _output(id_: str, data: Mapping[str, Any]) -> Output:
    text = data["data"]
    encoded = data.get("encoding") == "base64"
    content = base64.b64decode(text, validate=True) if encoded else text.encode()
    return Output(
        id_, "output", data, data["command_id"], data["stream"], int(data["offset"]), content
    )


class Seam:
    """Joins what successive connections deliver: each byte once.

    The server resumes exactly; this is the second lock on the door. Output that was seen is cut
    off by its offset, and output missing without a gap event is announced with one.
    `from_start`: every output is expected from its first byte.
    """

    def __init__(self, *, from_start: bool) -> None:
        self._from_start = from_start
        self._seen: dict[tuple[str, str], int] = {}

    def join(self, event: Event) -> list[Event]:
        """What to hand on for `event`: nothing, it, its unseen rest, or a gap and it."""
        if not isinstance(event, Output):
            self._pass(event)
            return [event]
        where = (event.command_id, event.stream)
        expected = self._seen.get(where, 0 if self._from_start else event.offset)
        end = event.offset + len(event.content)
        self._seen[where] = max(expected, end)
        if event.offset > expected:
            return [_missing(event, expected), event]
        if event.offset == expected:
            return [event]
        return [_rest(event, expected)] if end > expected else []

    def _pass(self, event: Event) -> None:
        """Behind a gap, or a claude.message (which is output too, of a length that only the
        server knows), a stream goes on wherever its next offset says."""
        if isinstance(event, Gap) or event.type == "claude.message":
            self._from_start = False
            self._seen.clear()
        elif isinstance(event, StateChange) and event.finished:
            for stream in ("stdout", "stderr"):
                self._seen.pop((event.command.id, stream), None)


def _rest(event: Output, offset: int) -> Output:
    content = event.content[offset - event.offset :]
    encoded = base64.b64encode(content).decode()
    data = {**event.data, "offset": offset, "data": encoded, "encoding": "base64"}
    return replace(event, offset=offset, content=content, data=data)


def _missing(event: Output, expected: int) -> Gap:
    data = {
        "command_id": event.command_id,
        "stream": event.stream,
        "from": expected,
        "to": event.offset,
        "reason": "missing",
    }
    return Gap(event.id, "gap", data, "missing")
