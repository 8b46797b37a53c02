"""A file that one process at a time holds; the kernel lets go of it for whoever dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOOK_S = 0.05


@contextmanager
def held(path: Path, *, wait_s: float) -> Iterator[bool]:
    """Whether it is ours, within `wait_s` seconds; then it is gone afterwards, unless something is
    noted in it and this ends with an error. Raises OSError where it cannot be made."""
    until = time.monotonic() + wait_s
    while (fd := _take(path)) is None and time.monotonic() < until:
        time.sleep(_LOOK_S)
    if fd is None:
        yield False
        return
    done = False
    try:
        yield True
        done = True
    finally:
        if done or not noted(path):
            path.unlink(missing_ok=True)
        os.close(fd)


def note(path: Path, what: bytes) -> None:
    """For who holds it after one that died: nothing, where it is not held at all."""
    with suppress(FileNotFoundError), path.open("r+b") as file:
        file.truncate(0)
        file.write(what)


def noted(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _take(path: Path) -> int | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who held it before has removed it: another one may be there by now.
        if os.path.samestat(os.fstat(fd), path.stat()):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None
