"""A deadline for a client that sends its headers or its body byte by byte.

gunicorn waits for a body without limit, and under threads for headers too. A deadline for each read
would not help: every byte would begin it anew. So one thread a process looks at the connections
that are being read from, and shuts those that are over their time for reading; what reads there
then finds the end.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rdev.http.middleware import Environ

_POLL_S = 0.25


@contextmanager
def hurry(environ: Environ, timeout_s: float) -> Iterator[None]:
    """End the reading from this request's connection after this time. Does nothing under a server
    that does not show the connection."""
    connection: socket.socket | None = environ.get("gunicorn.socket")
    if connection is None:
        yield
        return
    begin(connection, timeout_s)
    try:
        yield
    finally:
        end(connection)


def begin(connection: socket.socket, timeout_s: float) -> None:
    """End the reading from it after this time, unless `end` is called before."""
    _reading.begin(connection, time.monotonic() + timeout_s)


def end(connection: socket.socket) -> None:
    """All was read. Twice is no error."""
    _reading.end(connection)


class _Reading:
    """The connections that are being read from. No lock, as in sse.py: this module may be imported
    before gevent patches the process."""

    def __init__(self) -> None:
        self._deadlines: dict[socket.socket, float] = {}
        self._watched = False

    def begin(self, connection: socket.socket, deadline: float) -> None:
        self._deadlines[connection] = deadline
        if not self._watched:
            self._watched = True
            threading.Thread(target=self._watch, name="rdev-slow-clients", daemon=True).start()

    def end(self, connection: socket.socket) -> None:
        self._deadlines.pop(connection, None)

    def _watch(self) -> None:
        while True:
            time.sleep(_POLL_S)
            now = time.monotonic()
            for connection, deadline in tuple(self._deadlines.items()):
                if now >= deadline:
                    with suppress(OSError):  # gone by itself
                        connection.shutdown(socket.SHUT_RD)


_reading = _Reading()
