"""A file that one process at a time holds; the kernel lets go of it for whoever dies."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

_LOOK_S = 0.05
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def held(path: Path, *, wait_s: float) -> Iterator[bool]:
    """Whether it is ours, within `wait_s` seconds; then it is gone afterwards, unless something is
    noted in it and this ends with an error. Raises OSError where it cannot be made."""
    until = time.monotonic() + wait_s
    while (taken := _take(path)) is None and time.monotonic() < until:
        time.sleep(_LOOK_S)
    if taken is None:
        yield False
        return
    done = False
    try:
        yield True
        done = True
    finally:
        if done or not noted(path):
            path.unlink(missing_ok=True)
        taken.close()


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


def _take(path: Path) -> ExitStack | None:
    """What lets go of it; None: somebody has it. Where the disk has no room for the file, its
    folder is taken alone, of which everybody who has a file in it has a share."""
    with ExitStack() as stack:
        folder = _opened(stack, path.parent, os.O_RDONLY)
        try:
            fd = _opened(stack, path, os.O_RDWR | os.O_CREAT)
        except OSError as exc:
            if exc.errno not in _FULL:
                raise
            fd = None
        try:
            fcntl.flock(folder, (fcntl.LOCK_EX if fd is None else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            if fd is None:
                return stack.pop_all()
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who held it before has removed it: another one may be there by now.
            if os.path.samestat(os.fstat(fd), path.stat()):
                return stack.pop_all()
        except (BlockingIOError, FileNotFoundError):
            pass
    return None


def _opened(stack: ExitStack, path: Path, how: int) -> int:
    fd = os.open(path, how | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, fd)
    return fd
