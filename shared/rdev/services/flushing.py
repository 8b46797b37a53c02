"""Waiting for what a command wrote to be on the disk, before a record says so."""

import logging
import time
from collections.abc import Callable

from rdev.errors import WorkspaceUnavailable
from rdev.ports import Workspace

log = logging.getLogger(__name__)

_LOOK_S = 0.05
_SLOW_S = 0.5
"""A disk that takes longer holds up no other's commands."""


def until_flushed(
    find: Callable[[], Workspace],
    command_id: str,
    *,
    limit_s: float,
    interrupted: Callable[[], None],
    step_aside: Callable[[], None],
) -> None:
    """Of a command whose end is known: whatever befalls its workspace or its disk, that stays what
    it is, and waits for `limit_s` at most. `find` gives the workspace, `interrupted` raises to
    break off, `step_aside` is called where it takes long."""
    began = time.monotonic()
    while True:
        try:
            workspace = find()
            flushed = workspace.flushed(command_id)
            took_s = time.monotonic() - began
            if flushed or flushed is None or took_s >= limit_s:
                break
            interrupted()
            if took_s >= _SLOW_S:
                step_aside()
            workspace.wait(command_id, _LOOK_S)
        except WorkspaceUnavailable:
            flushed = None
            break
    if not flushed:
        log.warning("%s ended; its output is not on the disk yet", command_id)
