"""The file system on which workspaces and command files lie in a chaos run: one of its own, so that
it can be full without harming anybody else. Only where mounting is permitted."""

import os
import shutil
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

_SIZE = "256m"
_LOOK_S = 0.02
_BLOCK = 4096
_TIMEOUT_S = 20.0


class Disk:
    """`can_be_full` tells whether it is a file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.can_be_full = _mount(folder)

    def be_full(self, for_s: float) -> None:
        """Have it full for so long: what others free meanwhile is taken too."""
        filler = self.folder / "filler"
        until = time.monotonic() + for_s
        with filler.open("wb") as file:
            while time.monotonic() < until:
                _grow(file.fileno())
                time.sleep(_LOOK_S)
            filler.unlink()

    def end(self) -> None:
        if self.can_be_full:
            subprocess.run(["umount", "-l", self.folder], timeout=_TIMEOUT_S, check=False)


def _mount(folder: Path) -> bool:
    if shutil.which("mount") is None:
        return False
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=0755", "tmpfs", folder],
        stderr=subprocess.DEVNULL,
        timeout=_TIMEOUT_S,
        check=False,
    )
    return done.returncode == 0


def _grow(fd: int) -> None:
    """By all that is free, in ever smaller pieces."""
    size = os.fstat(fd).st_size
    piece = 1 << 26
    while piece >= _BLOCK:
        try:
            os.posix_fallocate(fd, size, piece)
        except OSError:
            piece //= 2
        else:
            size += piece


class Swap:
    """A folder that is a file for a while, and then the folder again with all that was in it. Both
    at one blow: in between nobody can make another."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._other = folder.with_name(f"{folder.name}.away")
        self._lock = threading.Lock()

    def be_gone(self, for_s: float) -> None:
        with self._lock:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._other.touch()
            _exchange(self._folder, self._other)
            time.sleep(for_s)
            _exchange(self._folder, self._other)
            with suppress(FileNotFoundError):
                self._other.unlink()


def _exchange(one: Path, other: Path) -> None:
    """renameat2(2) with RENAME_EXCHANGE, which Python does not have."""
    import ctypes

    libc, here, both = ctypes.CDLL(None, use_errno=True), -100, 2
    if libc.renameat2(here, os.fsencode(one), here, os.fsencode(other), both) != 0:
        raise OSError(ctypes.get_errno(), "renameat2", str(one))
