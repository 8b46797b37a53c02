"""Waiting for a change in a command's directory: by inotify, else by bounded adaptive polling."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from rdev.adapters.workspaces.dispatcher import Dispatcher

try:
    import inotify_simple
except ImportError:  # it comes with `rdev[up]`; without it there is polling
    inotify_simple = None

_SHORTEST_S = 0.001
_LONGEST_S = 0.05

State = tuple[tuple[str, int], ...]
"""The names and sizes of what lies in a directory."""

_WOKEN: State = (("", -1),)
"""What no directory looks like."""


class Watches:
    """One inotify instance for all directories that this process waits on."""

    def __init__(self, dispatcher: Dispatcher, *, use_inotify: bool = True) -> None:
        self._dispatcher = dispatcher
        self._use_inotify = use_inotify and inotify_simple is not None
        self._lock = threading.Lock()
        self._inotify: inotify_simple.INotify | None = None
        self._changed: dict[int, tuple[Path, threading.Event]] = {}
        self._watch_of: dict[Path, int] = {}
        self._seen: dict[Path, State] = {}

    def wait(self, directory: Path, timeout_s: float) -> None:
        """Block until something changed since the last wait returned, or the timeout. The first
        wait on a directory returns at once: nobody knows what went before."""
        if self._use_inotify:
            with self._lock:
                watch = self._watch_of.get(directory)
                if watch is None and self._begin(directory):
                    return
                event = self._changed[watch][1] if watch is not None else None
            if event is not None:
                event.wait(timeout_s)
                event.clear()
                return
        self._poll(directory, timeout_s)

    def wake(self, directory: Path) -> None:
        """Have whoever waits on it return, or else the next wait."""
        with self._lock:
            watch = self._watch_of.get(directory)
            if watch is not None:
                self._changed[watch][1].set()
            elif directory in self._seen:  # polled: now it looks different
                self._seen[directory] = _WOKEN

    def forget(self, directory: Path) -> None:
        """Stop watching; whoever waits on it returns."""
        with self._lock:
            self._seen.pop(directory, None)
            watch = self._watch_of.pop(directory, None)
            if watch is None:
                return
            self._changed.pop(watch)[1].set()
            assert self._inotify is not None
            with suppress(OSError):  # gone with the directory
                self._inotify.rm_watch(watch)

    def close(self) -> None:
        """Release the inotify instance. Call after the dispatcher's close."""
        with self._lock:
            if self._inotify is not None:
                self._inotify.close()
                self._inotify = None
            for _, event in self._changed.values():
                event.set()
            self._changed.clear()
            self._watch_of.clear()

    def _begin(self, directory: Path) -> bool:
        """Watch it; False where inotify cannot be had (its limits are the user's, and small)."""
        flags = inotify_simple.flags
        try:
            if self._inotify is None:
                self._inotify = inotify_simple.INotify(nonblocking=True)
                self._dispatcher.add(self._inotify.fileno(), self._dispatch)
            watch = self._inotify.add_watch(
                directory, flags.MODIFY | flags.CREATE | flags.MOVED_TO | flags.ONLYDIR
            )
        except OSError:
            return False
        self._changed[watch] = (directory, threading.Event())
        self._watch_of[directory] = watch
        return True

    def _dispatch(self) -> None:
        with self._lock:
            if self._inotify is None:
                return
            for event in self._inotify.read(timeout=0):
                if event.mask & inotify_simple.flags.Q_OVERFLOW:  # which ones, nobody knows
                    for _, changed in self._changed.values():
                        changed.set()
                elif event.wd in self._changed:
                    directory, changed = self._changed[event.wd]
                    changed.set()
                    if event.mask & inotify_simple.flags.IGNORED:  # the directory is gone
                        del self._changed[event.wd]
                        self._watch_of.pop(directory, None)

    def _poll(self, directory: Path, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        pause_s = _SHORTEST_S
        while True:
            now = _state(directory)
            left_s = deadline - time.monotonic()
            with self._lock:
                before = self._seen.get(directory)
            if now != before or left_s <= 0:
                break
            time.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 2, _LONGEST_S)
        with self._lock:
            self._seen[directory] = now


def _state(directory: Path) -> State:
    try:
        with os.scandir(directory) as entries:
            return tuple(sorted((entry.name, entry.stat().st_size) for entry in entries))
    except OSError:
        return ()
