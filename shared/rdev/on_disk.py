"""Having files on the disk, where a power cut leaves them alone, with a limit to the wait."""

import logging
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

_KILLED_S = 1.0


def fsync_folder(folder: Path) -> None:
    """What was made, renamed and removed right in it, however long the disk takes."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def keep_secret(path: Path, text: str) -> None:
    """Written whole or not at all, on the disk, and never readable by others."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    fsync_folder(path.parent)


def put_on_disk(tree: Path, *, limit_s: float, path: str = os.defpath) -> None:
    """What was written to the file system of `tree`; where that cannot be had within `limit_s`
    seconds, a warning says so. `path`: where `sync` is found. By a program, for a disk that hangs
    would hang the caller, and under gevent all others too; it is killed then."""
    _sync(["-f", os.fspath(tree)], tree, limit_s=limit_s, path=path)


def put_names_on_disk(folder: Path, *, limit_s: float, path: str = os.defpath) -> None:
    """What was made, renamed and removed right in `folder`; otherwise as `put_on_disk`."""
    _sync([os.fspath(folder)], folder, limit_s=limit_s, path=path)


def _sync(arguments: Sequence[str], tree: Path, *, limit_s: float, path: str) -> None:
    try:
        process = subprocess.Popen(  # noqa: S603 - argv only
            ["sync", *arguments],  # noqa: S607
            env={"PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError as exc:
        log.warning("%s may not outlive a power cut: sync cannot be run (%s)", tree, exc.strerror)
        return
    try:
        status = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        with suppress(subprocess.TimeoutExpired):  # what is stuck in the kernel stays there
            process.wait(_KILLED_S)
        log.warning("%s may not outlive a power cut: its disk takes over %g s", tree, limit_s)
        return
    if status != 0:
        log.warning("%s may not outlive a power cut: sync exited with %d", tree, status)
