"""A circuit breaker around the archive: after some failures in a row a call is refused at once,
until one that is let through for a try succeeds.

Not pybreaker's: that has calls wait for one another, and a clock that is set back keeps it open.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from rdev.errors import StoreUnavailable

T = TypeVar("T")


class Breaker:
    """Counts StoreUnavailable; whatever else is raised was an answer. One for all threads."""

    def __init__(self, *, failures: int = 5, pause_s: float = 5.0) -> None:
        self._most = failures
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until = 0.0
        self._trying = False

    @property
    def state(self) -> str:
        """closed; open (calls are refused); half-open (the next one, or one just now, is a try)."""
        with self._lock:
            if self._failures < self._most:
                return "closed"
            waits = not self._trying and time.monotonic() < self._open_until
            return "open" if waits else "half-open"

    def call(self, act: Callable[[], T]) -> T:
        """Raises StoreUnavailable at once where it is open."""
        self._enter()
        failed = False
        try:
            return act()
        except StoreUnavailable:
            failed = True
            raise
        finally:
            self._leave(failed=failed)

    def _enter(self) -> None:
        with self._lock:
            if self._failures < self._most:
                return
            if self._trying or time.monotonic() < self._open_until:
                raise StoreUnavailable(
                    "The archive does not answer; it is left alone for a while. Look at "
                    "RDEV_ARCHIVE_URL, the credentials and the disk; try again after "
                    "`Retry-After`.",
                    retry_after_s=max(1, round(self._pause_s)),
                )
            self._trying = True

    def _leave(self, *, failed: bool) -> None:
        with self._lock:
            self._trying = False
            self._failures = self._failures + 1 if failed else 0
            if self._failures >= self._most:
                self._open_until = time.monotonic() + self._pause_s
