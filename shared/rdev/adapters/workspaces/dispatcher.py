"""One daemon thread that calls back when a file descriptor can be read."""

import logging
import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress

log = logging.getLogger(__name__)


class Dispatcher:
    """Begins its thread at the first `add`. Callbacks run in that thread and must not block."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[], None]] = {}
        # Unlike a poll, an epoll takes new descriptors while a thread waits in it.
        self._epoll: select.epoll | None = None
        self._stop = -1
        self._thread: threading.Thread | None = None

    def add(self, fd: int, callback: Callable[[], None]) -> None:
        with self._lock:
            if self._epoll is None:
                self._begin()
            assert self._epoll is not None
            self._callbacks[fd] = callback
            self._epoll.register(fd, select.EPOLLIN)

    def remove(self, fd: int) -> None:
        """Forget a descriptor; to be called before it is closed. Unknown: no error."""
        with self._lock:
            if self._callbacks.pop(fd, None) is not None and self._epoll is not None:
                with suppress(OSError, ValueError):
                    self._epoll.unregister(fd)

    def close(self) -> None:
        """End the thread, and wait for it."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                os.eventfd_write(self._stop, 1)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _begin(self) -> None:
        self._epoll = select.epoll()
        self._stop = os.eventfd(0)
        self._epoll.register(self._stop, select.EPOLLIN)
        self._thread = threading.Thread(
            target=self._run, args=(self._epoll, self._stop), name=self._name, daemon=True
        )
        self._thread.start()

    def _call(self, fd: int, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:  # without this thread nobody is woken and no child is reaped
            log.exception("%s: forgets a descriptor whose callback failed", self._name)
            self.remove(fd)  # else it would be called again at once

    def _run(self, epoll: "select.epoll", stop: int) -> None:
        while True:
            ready = [fd for fd, _ in epoll.poll()]
            if stop in ready:
                break
            for fd in ready:
                callback = self._callbacks.get(fd)
                if callback is not None:
                    self._call(fd, callback)
        with self._lock:
            epoll.close()
            os.close(stop)
            self._epoll = None
            self._callbacks.clear()
