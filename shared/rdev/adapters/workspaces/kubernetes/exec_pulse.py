"""Keeps idle connections alive, and notices which are not: one thread for all of them."""

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdev.adapters.workspaces.kubernetes.exec_socket import ExecSocket


@dataclass
class _Watched:
    socket: "ExecSocket"
    unanswered_since: float | None = None


class Pulse:
    """A connection that says nothing for `ping_s` is asked for a sign of life; one that gives none
    for `silence_s` is broken off. What counts is for how long a ping was not answered: that this
    process was stopped for an hour says nothing about the other side."""

    def __init__(self, ping_s: float, silence_s: float) -> None:
        self._ping_s = min(ping_s, silence_s / 3)
        self._silence_s = silence_s
        self._tick_s = self._ping_s / 4
        self._lock = threading.Lock()
        self._watched: list[_Watched] = []
        self._thread: threading.Thread | None = None

    def watch(self, socket: "ExecSocket") -> None:
        """Until it is over."""
        with self._lock:
            self._watched.append(_Watched(socket))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._beat, name="exec-pulse", daemon=True)
                self._thread.start()

    def _beat(self) -> None:
        while True:
            time.sleep(self._tick_s)
            with self._lock:
                self._watched = [each for each in self._watched if not each.socket.wire.over]
                watched = list(self._watched)
                if not watched:
                    self._thread = None
                    return
            for each in watched:
                self._look(each)

    def _look(self, watched: _Watched) -> None:
        wire, now = watched.socket.wire, time.monotonic()
        wire.look()
        since = watched.unanswered_since
        if since is None or wire.heard >= since:
            watched.unanswered_since = None
            if now - wire.heard >= self._ping_s:
                watched.unanswered_since = now
                watched.socket.ping()
        elif now - since >= self._silence_s - self._ping_s - 2 * self._tick_s:
            wire.break_off(f"nothing was heard from it for {self._silence_s:g} s")
