"""A reader of one command's stream that comes back by id whenever it is cut off, and keeps book of
every byte: what came twice, out of place, or was announced as missing."""

import base64
import hashlib
import json
import random
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any

_SILENCE_S = 8.0


@dataclass
class Book:
    """What one reader saw of one command."""

    command_id: str
    sizes: dict[str, int] = field(default_factory=lambda: {"stdout": 0, "stderr": 0})
    hashes: dict[str, Any] = field(
        default_factory=lambda: {"stdout": hashlib.sha256(), "stderr": hashlib.sha256()}
    )
    wrong: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    connections: int = 0
    last_answer: str = ""
    finished: dict[str, Any] | None = None

    def take(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "output":
            self._output(data)
        elif kind == "gap":
            self.gaps.append(f"{data['from']} to {data['to']}: {data['reason']}")
            out, err = (int(part) for part in data["to"].split("-"))
            self.sizes = {"stdout": max(out - 1, 0), "stderr": err}
        elif kind == "command.finished":
            self.finished = data["command"]

    def _output(self, data: dict[str, Any]) -> None:
        stream = data["stream"]
        raw = data["data"]
        piece = base64.b64decode(raw) if data.get("encoding") == "base64" else raw.encode()
        if data["offset"] != self.sizes[stream]:
            self.wrong.append(f"{stream}: {self.sizes[stream]} expected, {data['offset']} came")
        self.sizes[stream] = data["offset"] + len(piece)
        self.hashes[stream].update(piece)


class Reader:
    def __init__(
        self, port: int, key: str, project: str, command_id: str, *, seed: int, until: float
    ) -> None:
        self.until = until
        self.book = Book(command_id)
        self._port = port
        self._headers = {"X-API-Key": key}
        self._path = f"/projects/{project}/events?stream_id={command_id}"
        self._random = random.Random(seed)
        self._last = ""

    def read(self) -> None:
        """Until command.finished, or until `until` (by time.monotonic) is over."""
        while self.book.finished is None and time.monotonic() < self.until:
            try:
                if self._connect():
                    break
            except (OSError, HTTPException, ValueError) as exc:
                self.book.last_answer += f", {exc!r}"
            time.sleep(self._random.uniform(0.02, 0.3))

    def _connect(self) -> bool:
        """Whether there is nothing more to come."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=_SILENCE_S)
        # Now and then it goes away by itself, in the middle of whatever comes.
        leave_after = self._random.choice([3, 20, 10**9])
        try:
            headers = {**self._headers, **({"Last-Event-ID": self._last} if self._last else {})}
            connection.request("GET", self._path, headers=headers)
            response = connection.getresponse()
            self.book.last_answer = f"{response.status} after {self._last or 'nothing'}"
            if response.status == 204:
                return True
            if response.status != 200:
                response.read()
                return False
            self.book.connections += 1
            return self._consume(response, leave_after)
        finally:
            connection.close()

    def _consume(self, response: HTTPResponse, leave_after: int) -> bool:
        event: dict[str, str] = {}
        while line := response.readline():
            text = line.decode().rstrip("\n")
            if text and not text.startswith(":"):
                name, _, value = text.partition(": ")
                event[name] = value
            elif not text and event:
                if "data" in event:
                    self.book.take(event.get("event", ""), json.loads(event["data"]))
                    self._last = event.get("id", self._last)
                    leave_after -= 1
                event = {}
                if self.book.finished is not None:
                    return True
                if leave_after <= 0:
                    return False
        return False
