"""A socket's bytes, up to a deadline and a number of bytes.

Time limits of sockets hold for one recv each: a server that drips a byte a second is never cut
by them. So the socket never blocks, and every wait is one here, measured against the deadline of
the whole request. That is also the fastest way with many threads: each system call of a socket
hands Python's lock on, and a time limit takes three for every recv.
"""

import io
import select
import socket
import ssl
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, TypeVar

T = TypeVar("T")


class Deadline:
    """A moment on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """The seconds until then. Raises TimeoutError when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class Wire(io.RawIOBase):
    """What is read and written belongs to one exchange, from one `begin` to the next. The socket
    must not block."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._deadline: Deadline | None = None
        self._budget = 0
        self.heard = False
        """Whether anything came."""
        self.ended = False
        """Whether the other side has ended the connection."""

    def begin(self, deadline: Deadline | None, budget: int) -> None:
        """Read `budget` bytes at most. Without a deadline nothing waits: what is not there at once
        raises, as it does on sockets that do not block."""
        self._deadline, self._budget, self.heard = deadline, budget, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._budget <= 0:
            raise HTTPException("The answer is too large before its body.")
        if self._deadline:
            # An answer takes its time: to look for it first would be in vain. (Not so with TLS,
            # where it may lie in OpenSSL's buffer already.)
            count = patiently(
                self._sock, lambda: self._sock.recv_into(buffer), self._deadline, look=self._tls
            )
        else:
            count = self._sock.recv_into(buffer)
        self._budget -= count
        self.heard, self.ended = self.heard or count > 0, not count
        return count

    def send_all(self, data: bytes) -> None:
        assert self._deadline
        rest = memoryview(data)
        while rest:
            rest = rest[patiently(self._sock, lambda: self._sock.send(rest), self._deadline) :]  # noqa: B023 - called at once

    def hang_up(self) -> None:
        self._sock.close()


def patiently(
    sock: socket.socket, act: Callable[[], T], deadline: Deadline, *, look: bool = True
) -> T:
    """Do what a socket that does not block may not be able to do at once. `look`: try before the
    first wait, which else is for something to read."""
    event = 0 if look else select.POLLIN
    while True:
        if event:
            waiting = select.poll()
            waiting.register(sock, event)
            if not waiting.poll(deadline.left() * 1000):
                raise TimeoutError
        try:
            return act()
        except ssl.SSLWantReadError:
            event = select.POLLIN
        except ssl.SSLWantWriteError:
            event = select.POLLOUT
        except BlockingIOError:
            event = select.POLLOUT if look else select.POLLIN
