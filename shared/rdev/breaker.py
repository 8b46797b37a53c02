"""A circuit breaker: after some failures in a row a call is refused at once, until one that is let
through for a try succeeds. It goes by the monotonic clock, and no call waits for another one.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from rdev.errors import RdevError

T = TypeVar("T")


class Breaker:
    """One for all threads. `counts` is what a failure raises; whatever else is raised was an
    answer. `refusal` makes what is raised while it is open: it is told the pause in seconds."""

    def __init__(
        self,
        counts: type[RdevError],
        refusal: Callable[[int], RdevError],
        *,
        failures: int = 5,
        pause_s: float = 5.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts = counts
        self._refusal = refusal
        self._most = failures
        self._pause_s = pause_s
        self._now = now
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
            return "open" if self._refuses() and not self._trying else "half-open"

    @property
    def refuses(self) -> bool:
        """Whether a call of anybody else would be refused now."""
        with self._lock:
            return self._refuses()

    def call(self, act: Callable[[], T]) -> T:
        """Raises the refusal at once where it is open, and where another call is the try."""
        with self._lock:
            if self._refuses():
                raise self._refusal(max(1, round(self._pause_s)))
            self._trying = self._failures >= self._most
        failed = False
        try:
            return act()
        except self._counts:
            failed = True
            raise
        finally:
            with self._lock:
                self._trying = False
                self._count(failed=failed)

    def note(self, *, failed: bool) -> None:
        """How a call went that did not go through `call`. One that is open already stays so: it
        began before that."""
        with self._lock:
            if self._failures < self._most:
                self._count(failed=failed)

    def _refuses(self) -> bool:
        if self._failures < self._most:
            return False
        return self._trying or self._now() < self._open_until

    def _count(self, *, failed: bool) -> None:
        self._failures = self._failures + 1 if failed else 0
        if self._failures >= self._most:
            self._open_until = self._now() + self._pause_s
