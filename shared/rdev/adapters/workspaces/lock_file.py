"""A file that one process at a time holds; the kernel lets go of it for whoever dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOOK_S = 0.05


@contextmanager
def held(path: Path, *, wait_s: float) -> Iterator[bool]:
    """Whether it is ours, within `wait_s` seconds; then it is gone afterwards. Raises OSError where
    it cannot be made."""
    until = time.monotonic() + wait_s
    while (fd := _take(path)) is None and time.monotonic() < until:
        time.sleep(_LOOK_S)
    if fd is None:
        yield False
        return
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)


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
