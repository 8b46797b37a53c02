"""A connected socket that is shared by whoever reads, writes, watches and closes it.

No call of the socket blocks, and each is made under one lock: an SSL connection bears one at a
time. Waiting is done outside of it, and always ends. What was read but not asked for is bounded,
so that a slow reader is felt by whoever writes at the other end.
"""

import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 65536
_CONTROL_BYTES = 4096
"""So much of pings, pongs and the like waits for room; more is not worth sending."""


class WireBroken(OSError):
    """The connection is over. The message says why."""


class Wire:
    """One thread reads, one writes; any thread may look, tell and break off.

    `heard`: when the other side last gave a sign of life. Times are `time.monotonic`'s.
    """

    def __init__(self, raw: socket.socket) -> None:
        raw.setblocking(False)
        self._raw = raw
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._users = 0
        self._reading = False
        self._torn = False
        self._ahead = bytearray()
        self._control = bytearray()
        self._ended: str | None = None
        self._broken: str | None = None
        self.heard = time.monotonic()

    @property
    def over(self) -> bool:
        return self._broken is not None

    # --- reading ---------------------------------------------------------------------------------

    def read(self, size: int, until: float) -> bytes:
        """Some bytes, at most `size`. Raises TimeoutError when none came; WireBroken when all that
        came was read."""
        with self._lock:
            if self._ahead:
                return self._taken(size)
            self._come_in()
            self._reading = True
        try:
            while True:
                with self._lock:
                    wait_for = self._receive()
                    if self._ahead:
                        return self._taken(size)
                self._wait(wait_for, until)
        finally:
            with self._lock:
                self._reading = False
                self._go_out()

    def look(self) -> None:
        """Whether it lives. What has come is read where nobody else is reading, as far as there is
        room: an answer to a ping is not to be missed behind it."""
        with self._lock, suppress(WireBroken):
            if self._broken or self._ended:
                return
            if not self._reading and len(self._ahead) < _CHUNK:
                self._receive()
            elif self._poll(select.POLLIN, 0):
                self.heard = time.monotonic()

    def _receive(self) -> int:
        """Under the lock. Puts what has come into `_ahead`, or says what to wait for."""
        if why := self._ended or self._broken:
            raise WireBroken(why)
        try:
            came = self._raw.recv(_CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError):
            return select.POLLIN
        except ssl.SSLWantWriteError:
            return select.POLLOUT
        except OSError as exc:
            self._ended = f"it broke ({exc})"
            raise WireBroken(self._ended) from exc
        if not came:
            self._ended = "the other side hung up"
            raise WireBroken(self._ended)
        self._ahead += came
        self.heard = time.monotonic()
        return 0

    def _taken(self, size: int) -> bytes:
        taken = bytes(self._ahead[:size])
        del self._ahead[:size]
        return taken

    # --- writing ---------------------------------------------------------------------------------

    def write(self, frame: bytes, until: float) -> None:
        """All of it. Raises TimeoutError where that cannot be done in time: a part may be out, so
        nothing else is written from then on; WireBroken where nobody takes it."""
        if not self._writing.acquire(timeout=max(0.0, until - time.monotonic())):
            raise TimeoutError
        try:
            with self._inside():
                while self._control:
                    self._wait(self._tell(), until)
                self._write(memoryview(frame), until)
                self._tell()  # what others had to say meanwhile
        finally:
            self._writing.release()

    def _write(self, rest: memoryview, until: float) -> None:
        while rest:
            with self._lock:
                sent, wait_for = self._send(rest)
            rest = rest[sent:]
            try:
                self._wait(wait_for, until)
            except TimeoutError:
                self._torn = True
                raise

    def tell(self, frame: bytes) -> None:
        """A control frame: at once, or between two others. Waits for nothing."""
        with self._lock:
            if self._broken or len(self._control) + len(frame) > _CONTROL_BYTES:
                return
            self._control += frame
        if self._writing.acquire(blocking=False):
            try:
                with suppress(WireBroken), self._inside():
                    self._tell()
            finally:
                self._writing.release()

    def _tell(self) -> int:
        """As much as there is room for; gives what to wait for."""
        with self._lock:
            sent, wait_for = self._send(bytes(self._control))
            del self._control[:sent]
            return wait_for

    def _send(self, data: "bytes | memoryview") -> tuple[int, int]:
        """Under the lock: how many bytes went, or what to wait for. Reading is not over when this
        fails: the other side's last words may be there to be read."""
        if self._broken or self._torn:
            raise WireBroken(self._broken or "what was sent before did not get through")
        try:
            return self._raw.send(data) if data else 0, 0
        except (BlockingIOError, ssl.SSLWantWriteError):
            return 0, select.POLLOUT
        except ssl.SSLWantReadError:
            return 0, select.POLLIN
        except OSError as exc:
            raise WireBroken(f"it broke ({exc})") from exc

    # --- the end ---------------------------------------------------------------------------------

    def break_off(self, why: str) -> None:
        """Whoever waits stops at once. The first `why` is the one that is told."""
        with self._lock:
            if self._broken is None:
                self._broken = why
                with suppress(OSError):  # it may be gone already
                    self._raw.shutdown(socket.SHUT_RDWR)
            self._let_go()

    @contextmanager
    def _inside(self) -> Iterator[None]:
        with self._lock:
            self._come_in()
        try:
            yield
        finally:
            with self._lock:
                self._go_out()

    def _come_in(self) -> None:
        """The socket is not closed from now on: another could get its number, and be waited for."""
        if self._broken:
            raise WireBroken(self._ended or self._broken)
        self._users += 1

    def _go_out(self) -> None:
        self._users -= 1
        self._let_go()

    def _let_go(self) -> None:
        if self._broken and not self._users:
            self._raw.close()

    def _wait(self, event: int, until: float) -> None:
        if not event:
            return
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._poll(event, left_s)

    def _poll(self, event: int, timeout_s: float) -> bool:
        poll = select.poll()  # not select: that knows no descriptor above 1,023
        poll.register(self._raw, event)
        return bool(poll.poll(min(timeout_s, 3600) * 1000))
