"""Files of a command's directory as others find them: commands can put there what they like. What
is no plain file is taken for none, and to open it waits for nobody."""

import errno
import os
import stat
from pathlib import Path

_NONE = frozenset({errno.ELOOP, errno.ENXIO, errno.EISDIR})


def descriptor(path: Path, flags: int = os.O_RDONLY) -> int:
    """Of an open file. Raises FileNotFoundError also for a symlink, a fifo, a folder."""
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as exc:
        if exc.errno in _NONE:
            raise _no_file(path) from exc
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _no_file(path)
    return fd


def content(path: Path, *, most_bytes: int = 10_000) -> bytes:
    """The beginning of a file."""
    fd = descriptor(path)
    try:
        return os.read(fd, most_bytes)
    finally:
        os.close(fd)


def text(path: Path) -> str:
    return content(path).decode(errors="replace")


def _no_file(path: Path) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "no plain file", os.fspath(path))
