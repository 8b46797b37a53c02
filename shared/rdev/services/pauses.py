"""Trying again: how long to wait in between, and when it was often enough."""

import threading
import time

MOST_FAILURES = 5
_FORGET_S = 60.0
"""After how long without another error of ours the ones before it no longer count."""
_LONGEST_PAUSE_S = 2.0
_CALM_S = 10.0


class Pauses:
    """Waits between attempts, longer and longer until it has been calm for a while."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._next_s = 0.1
        self._last = 0.0

    def pause(self) -> None:
        if time.monotonic() - self._last > _CALM_S:
            self._next_s = 0.1
        self._stopping.wait(self._next_s)
        self._next_s = min(self._next_s * 2, _LONGEST_PAUSE_S)
        self._last = time.monotonic()


class Errors:
    """Counts errors of rdev's own that come one soon after the other."""

    def __init__(self) -> None:
        self._count = 0
        self._last = 0.0

    def too_many(self) -> bool:
        now = time.monotonic()
        self._count = 1 if now - self._last > _FORGET_S else self._count + 1
        self._last = now
        return self._count >= MOST_FAILURES


class Missing:
    """Whether something has been missing, each time it was looked for, for more than `gone_s`
    and so is gone: what is being replaced is missing for a moment."""

    def __init__(self, gone_s: float, *, for_s: float = 0.0) -> None:
        """`for_s`: others have missed it for so long already."""
        self._gone_s = gone_s
        self._since = time.monotonic() - for_s if for_s else None

    def for_long(self, *, missing: bool, there_at: float = 0.0) -> bool:
        """`there_at`: when it was last seen by other means (monotonic)."""
        if not missing:
            self._since = None
            return False
        now = time.monotonic()
        if self._since is None or self._since < there_at:
            self._since = now
        return now - self._since > self._gone_s

    def lasted_s(self, there_at: float) -> float:
        """For how long, until now."""
        if self._since is None or self._since < there_at:
            return 0.0
        return time.monotonic() - self._since
