"""Having files on the disk, where a power cut leaves them alone, with a limit to the wait."""

import logging
import os
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from rdev.beside_the_loop import in_real_thread, is_patched

log = logging.getLogger(__name__)

_KILLED_S = 1.0


def put_names_on_disk(folder: Path, *, limit_s: float) -> None:
    """What was made, renamed and removed right in `folder`; otherwise as `put_on_disk`. By a thread
    and not by a program, for this is asked for often, and of a process that gevent has patched a
    fork takes its time."""
    try:
        _in_time(partial(fsync_folder, folder), limit_s)
    except TimeoutError:
        log.warning("%s may not outlive a power cut: its disk takes over %g s", folder, limit_s)
    except OSError as exc:
        log.warning("%s may not outlive a power cut: %s", folder, exc.strerror)


def _in_time(act: Callable[[], None], limit_s: float) -> None:
    if is_patched():
        in_real_thread(act, limit_s)
        return
    errors: list[OSError] = []

    def run() -> None:
        try:
            act()
        except OSError as exc:
            errors.append(exc)

    thread = threading.Thread(target=run, name="on-disk", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise TimeoutError
    if errors:
        raise errors[0]


def fsync_folder(folder: Path) -> None:
    """What was made, renamed and removed right in it, however long the disk takes."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def put_on_disk(tree: Path, *, limit_s: float, path: str = os.defpath) -> None:
    """What was written to the file system of `tree`; where that cannot be had within `limit_s`
    seconds, a warning says so. `path`: where `sync` is found. By a program, for a disk that hangs
    would hang the caller, and under gevent all others too; it is killed then."""
    try:
        process = subprocess.Popen(  # noqa: S603 - argv only
            ["sync", "-f", os.fspath(tree)],  # noqa: S607
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
