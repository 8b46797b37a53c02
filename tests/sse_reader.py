"""A reader of server-sent events on a plain socket, so that a test sees what a library would
hide: the chunks of the body, where it ends, and whether it ended as it should."""

import base64
import json
import select
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

ENOUGH_S = 60.0


@dataclass(frozen=True)
class Event:
    id: str
    type: str
    data: Any

    @property
    def content(self) -> bytes:
        """The bytes that an `output` event carries."""
        text: str = self.data["data"]
        return base64.b64decode(text) if "encoding" in self.data else text.encode()


class SseReader:
    """One open stream. `ended`: the body came to its proper end; `broken`: it was cut off."""

    def __init__(
        self,
        port: int,
        path: str,
        headers: Mapping[str, str],
        *,
        receive_buffer: int | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.events: list[Event] = []
        self.ended = self.broken = False
        self._text = b""
        self.socket = socket.socket()
        self.socket.settimeout(ENOUGH_S)
        try:
            if receive_buffer:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.socket.connect((host, port))
            lines = [f"GET {path} HTTP/1.1", "Host: test", *map(": ".join, headers.items())]
            self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
            self._file = self.socket.makefile("rb", 0 if receive_buffer else -1)
            self.head = b"".join(iter(self._file.readline, b"\r\n")).decode()
        except BaseException:
            self.socket.close()
            raise
        self.status = int(self.head.split()[1])

    def read(self, until: Callable[["SseReader"], Any] = lambda _: False) -> list[Event]:
        """All events so far, once `until` is true or the stream is over."""
        try:
            while not (self.ended or until(self)):
                self._chunk()
        except (ConnectionError, ValueError):
            self.broken = True
        return self.events

    def read_to_end(self) -> list[Event]:
        self.read()
        assert self.ended, "cut off"
        assert not self._text, "ended within a frame"
        return self.events

    def _chunk(self) -> None:
        size = int(self._file.readline(), 16)
        data = b""
        while len(data) < size + 2:
            more = self._file.read(size + 2 - len(data))
            if not more:
                # What has come is whole frames and perhaps part of one, which goes unseen.
                self._feed(data[:size])
                raise ConnectionError("cut off")
            data += more
        assert data.endswith(b"\r\n")
        self._feed(data[:size])
        self.ended = size == 0

    def _feed(self, data: bytes) -> None:
        *blocks, self._text = (self._text + data).split(b"\n\n")
        for block in blocks:
            if block.startswith(b"id: "):
                first, second, third = block.split(b"\n")
                assert (second[:7], third[:6]) == (b"event: ", b"data: ")
                event = Event(first[4:].decode(), second[7:].decode(), json.loads(third[6:]))
                self.events.append(event)

    def output(self, stream: str = "stdout", command_id: str | None = None) -> bytes:
        """The bytes of a stream as they came, each checked to begin where the last one ended."""
        return joined(self.events, stream, command_id)

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.type == kind]

    def wait_for_hangup(self) -> None:
        """Until the server closed its side, without reading anything."""
        poller = select.poll()
        poller.register(self.socket, select.POLLRDHUP)
        assert poller.poll(ENOUGH_S * 1000), "still connected"

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def __enter__(self) -> "SseReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def joined(events: list[Event], stream: str = "stdout", command_id: str | None = None) -> bytes:
    """What the output events of a stream add up to; fails on a byte too many or too few."""
    data = bytearray()
    for event in events:
        mine = event.type == "output" and event.data["stream"] == stream
        if mine and command_id in (None, event.data["command_id"]):
            assert event.data["offset"] == len(data), "a gap, or bytes that came twice"
            data += event.content
    return bytes(data)
