"""Waiting for a change in a pod's commands: by polling, faster right after a change, slower while
nothing happens, and for all who wait in the same pod at once."""

import threading
import time
from collections.abc import Callable, Collection, Mapping

_SHORTEST_S = 0.002
_LONGEST_S = 0.1
_GROWTH = 1.5


class PodChanges:
    """`poll` tells how these commands look from outside; those that are not there, not at all."""

    def __init__(self, poll: Callable[[Collection[str]], Mapping[str, str]]) -> None:
        self._poll = poll
        self._changed = threading.Condition()
        self._polling = threading.Lock()
        self._polled_at = 0.0
        self._waiting: dict[str, int] = {}
        self._now: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._woken: set[str] = set()

    def wait(self, command_id: str, timeout_s: float) -> None:
        """Until it looks different from when the last wait for it returned, or the timeout. The
        first returns at once."""
        until = time.monotonic() + timeout_s
        pause_s = _SHORTEST_S
        with self._changed:
            self._waiting[command_id] = self._waiting.get(command_id, 0) + 1
        try:
            while not self._is_told(command_id):
                left_s = until - time.monotonic()
                if left_s <= 0:
                    return
                rest_s = pause_s
                if time.monotonic() - self._polled_at >= pause_s:
                    if self._look():
                        pause_s = min(pause_s * _GROWTH, _LONGEST_S)
                        continue
                    rest_s = _LONGEST_S  # whoever is at it tells when it is done
                with self._changed:
                    if command_id not in self._woken:
                        self._changed.wait(min(left_s, rest_s))
        finally:
            self._leave(command_id)

    def wake(self, command_id: str) -> None:
        """Have whoever waits for it return, or else the next wait."""
        with self._changed:
            self._woken.add(command_id)
            self._changed.notify_all()

    def forget(self, command_id: str) -> None:
        with self._changed:
            for kept in (self._now, self._told):
                kept.pop(command_id, None)
            self._woken.discard(command_id)

    def _is_told(self, command_id: str) -> bool:
        with self._changed:
            now = self._now.get(command_id)
            if now == self._told.get(command_id) and command_id not in self._woken:
                return False
            self._woken.discard(command_id)
            if now is not None:
                self._told[command_id] = now
            return True

    def _look(self) -> bool:
        """False where another one is at it."""
        if not self._polling.acquire(blocking=False):
            return False
        try:
            with self._changed:
                asked = list(self._waiting)
            seen = self._poll(asked)
            with self._changed:
                for each in asked:
                    self._now[each] = seen.get(each, "")
                self._polled_at = time.monotonic()
                self._changed.notify_all()
        finally:
            self._polling.release()
        return True

    def _leave(self, command_id: str) -> None:
        with self._changed:
            self._waiting[command_id] -= 1
            if not self._waiting[command_id]:
                del self._waiting[command_id]
