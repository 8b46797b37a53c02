"""Processes of one machine that answer for one another, so that one scrape sees all of them.

They share a folder. Each holds a place in it (`functions-0`) by a lock, which the kernel gives back
whatever becomes of the process, and answers on a socket beside that: nothing on disk can be stale.
A place is taken again by the next of its kind, so names stay few.
"""

import fcntl
import logging
import os
import socket
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

log = logging.getLogger(__name__)

_PATIENCE_S = 2.0
_MOST_BYTES = 16 * 1024 * 1024
_PLACES = 256
_SOCKET = ".sock"


class Neighbours:
    """`kind` is what this process is, such as `functions`. Raises OSError where the folder cannot
    be used."""

    def __init__(self, folder: Path, kind: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(f"others may write into {folder}")
        self._folder = folder
        self._lock, self.name = _place(folder, kind)

    def answer(self, say: Callable[[], bytes]) -> None:
        """Have `say()` told to every neighbour that asks, from a thread."""
        path = self._folder / f"{self.name}{_SOCKET}"
        path.unlink(missing_ok=True)  # of who held the place before
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(16)
        threading.Thread(
            target=_serve, args=(listener, say), name="rdev-neighbours", daemon=True
        ).start()

    def ask(self) -> dict[str, bytes | None]:
        """What the others say, by name; None: it runs, and did not answer within two
        seconds."""
        said: dict[str, bytes | None] = {}
        names = [path.stem for path in self._folder.glob(f"*{_SOCKET}") if path.stem != self.name]
        threads = [
            threading.Thread(target=self._ask_one, args=(name, said), daemon=True)
            for name in sorted(names)
        ]
        for thread in threads:
            thread.start()
        until = time.monotonic() + _PATIENCE_S + 0.5
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return dict(sorted(said.copy().items()))

    def leave(self) -> None:
        """Twice is no error."""
        with suppress(OSError):
            (self._folder / f"{self.name}{_SOCKET}").unlink(missing_ok=True)
        self._lock.close()

    def _ask_one(self, name: str, said: dict[str, bytes | None]) -> None:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(_PATIENCE_S)
            try:
                asking.connect(str(self._folder / f"{name}{_SOCKET}"))
            except (ConnectionRefusedError, FileNotFoundError):
                return  # it is gone
            except OSError:
                said[name] = None
                return
            said[name] = None
            said[name] = _all_of(asking)


def _place(folder: Path, kind: str) -> "tuple[_Lock, str]":
    for number in count():
        name = f"{kind}-{number}"
        lock = _Lock(folder / f"{name}.lock")
        if lock.held:
            return lock, name
        if number == _PLACES:
            raise OSError(f"there are {_PLACES} processes in {folder} already")
    raise AssertionError


class _Lock:
    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.held = True
        except BlockingIOError:
            self.held = False
            os.close(self._fd)

    def close(self) -> None:
        if self.held:
            self.held = False
            os.close(self._fd)


def _serve(listener: socket.socket, say: Callable[[], bytes]) -> None:
    while True:
        try:
            asking, _ = listener.accept()
        except OSError as exc:
            log.warning("neighbours get no answers any more: %s", exc)
            return
        with asking:
            asking.settimeout(_PATIENCE_S)
            try:
                asking.sendall(say())
            except OSError:
                continue  # it asked, and went
            except Exception:
                log.exception("a neighbour could not be told")


def _all_of(asking: socket.socket) -> bytes | None:
    """To its end; None where that does not come in time."""
    until, size = time.monotonic() + _PATIENCE_S, 0
    parts: list[bytes] = []
    with suppress(OSError):
        while time.monotonic() < until and size < _MOST_BYTES:
            part = asking.recv(65536)
            if not part:
                return b"".join(parts)
            parts.append(part)
            size += len(part)
    return None
