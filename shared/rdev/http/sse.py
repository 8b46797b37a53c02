"""Server-sent events on the wire: flask-sse's message and blueprint over our streams.

flask-sse has no ids, no heartbeats, one Redis connection a client, and splits data at characters
that are no line ends to a browser; here data is one line of ASCII JSON.
"""

import logging
import random
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

from flask import Response, request
from flask_sse import Message, ServerSentEventsBlueprint

from rdev.config import Settings, settings
from rdev.domain.events import EntryId
from rdev.ports import metrics

_SEND_BUFFER = 128 * 1024
"""What the kernel takes for a client that reads nothing, before its write deadline runs."""
_POLL_S = 0.2


class Frame(Message):  # type: ignore[misc]  # flask-sse has no types
    """One event. `data` is one line of ASCII already."""

    def __bytes__(self) -> bytes:
        return b"id: %b\nevent: %b\ndata: %b\n\n" % (
            str(self.id).encode(),
            self.type.encode(),
            self.data,
        )


def frame(entry_id: EntryId, event_type: str, data: bytes) -> bytes:
    """An event's bytes on the wire: the hub's `encode`."""
    return bytes(Frame(data, type=event_type, id=entry_id))


class EventsReader(Protocol):
    """What a stream is fed from (`rdev.services.readers.Reader`)."""

    @property
    def ended(self) -> bool: ...

    def next(self, timeout_s: float) -> bytes | None: ...

    def wake(self) -> None: ...

    def close(self) -> None: ...


class EventsBlueprint(ServerSentEventsBlueprint):  # type: ignore[misc]  # flask-sse has no types
    """A blueprint that streams readers. Publishing goes through the streams, not through it."""

    def stream_response(
        self, reader: EventsReader | None, config: Settings | None = None
    ) -> Response:
        """An endless response fed by `reader`, which it closes. None: the stream is over, and
        204 tells EventSource not to come back."""
        if reader is None:
            return Response(status=204)
        config = config or settings()
        connection = _bound_writes(request.environ, config.sse_write_timeout_s)
        response = Response(
            self.messages(reader, config, connection),
            content_type="text/event-stream",
            headers={"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"},
        )
        response.call_on_close(reader.close)  # also if the generator never begins
        return response

    def messages(
        self,
        reader: EventsReader,
        config: Settings,
        connection: socket.socket | None = None,
    ) -> Iterator[bytes]:
        """The stream's bytes: retry, events, a comment where there are none for a while; it
        ends after command.finished, at a random age, and when the process is to stop."""
        ends_at = time.monotonic() + config.sse_max_age_s * random.uniform(0.8, 1.0)  # noqa: S311
        _open.add(reader)
        try:
            yield b"retry: 2000\n\n:\n\n"  # the comment flushes the headers
            while not (reader.ended or _open.stopping):
                left_s = ends_at - time.monotonic()
                if left_s <= 0:
                    break
                events = reader.next(min(config.sse_heartbeat_s, left_s))
                if events:
                    yield events
                elif not reader.ended:
                    yield b":\n\n"
        except GeneratorExit:
            if connection is not None:
                _reset(connection)
            raise
        finally:
            _open.discard(reader)
            reader.close()
            if _open.stopping and connection is not None:
                _hang_up(connection)


def stop_streams() -> None:
    """End every open stream of this process within a second. May be called by a signal
    handler: it takes no lock."""
    _open.stopping = True


def end_streams_when(done: Callable[[], bool]) -> None:
    """End every open stream soon after `done()` is true, instead of with the gunicorn worker that
    is found. In gunicorn's `post_worker_init`: `end_streams_when(lambda: not worker.alive)`."""
    _open.done = done


class _OpenStreams:
    """The streams this process has open, and the thread that ends them. No lock: this module
    may be imported before gevent patches the process, and a lock from before blocks it."""

    def __init__(self) -> None:
        self.stopping = False
        self.done: Callable[[], bool] = _worker_is_ending
        self._readers: set[EventsReader] = set()
        self._watched = False

    def add(self, reader: EventsReader) -> None:
        self._readers.add(reader)
        if not self._watched:
            self._watched = True
            logging.getLogger("gunicorn.error").addFilter(_calm)
            threading.Thread(target=self._watch, name="rdev-sse", daemon=True).start()

    def discard(self, reader: EventsReader) -> None:
        self._readers.discard(reader)

    def _watch(self) -> None:
        while True:
            time.sleep(_POLL_S)
            if self.stopping or self.done():
                self.stopping = True
                for reader in tuple(self._readers):
                    reader.wake()


def _calm(record: logging.LogRecord) -> bool:
    """A slow reader is no error of ours: one line instead of gunicorn's traceback."""
    if record.exc_info and isinstance(record.exc_info[1], TimeoutError):
        metrics.STREAM_SLOW.add()
        record.msg = "A reader took nothing within its write deadline: disconnected, may resume."
        record.args = record.exc_info = None
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True


def _worker_is_ending() -> bool:
    """Whether the gunicorn worker that serves us was told to end. functions-framework has no hook
    for it, but what handles SIGTERM here is a method of that worker."""
    worker = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(worker, "alive", True) is False


_open = _OpenStreams()


def _bound_writes(environ: dict[str, Any], timeout_s: float) -> socket.socket | None:
    """Under gunicorn: give each write a deadline, so that a reader that takes nothing is
    disconnected. It can resume by its last id."""
    connection: socket.socket | None = environ.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(timeout_s)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    return connection


def _reset(connection: socket.socket) -> None:
    """Closed before its end: a write failed. Else the kernel goes on for minutes keeping what
    it holds for a client that does not read."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _hang_up(connection: socket.socket) -> None:
    """No further request on this connection: else the worker waits for one before it ends."""
    with suppress(OSError):  # the client was faster
        connection.shutdown(socket.SHUT_RD)
