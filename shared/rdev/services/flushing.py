"""Waiting for what a command wrote to be on the disk, before a record says so."""

import logging
import time
from collections.abc import Callable

from rdev.ports import Workspace

log = logging.getLogger(__name__)

_LOOK_S = 0.05


def until_flushed(
    workspace: Workspace, command_id: str, *, limit_s: float, interrupted: Callable[[], None]
) -> None:
    """Of a command that is over. A disk that hangs is not waited for longer than `limit_s`: the
    end is known. `interrupted` raises to break off."""
    deadline = time.monotonic() + limit_s
    while workspace.flushing(command_id):
        interrupted()
        if time.monotonic() >= deadline:
            log.warning("%s ended; its output is not on the disk yet", command_id)
            return
        workspace.wait(command_id, _LOOK_S)
