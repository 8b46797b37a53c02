"""How long each step of a command took, from the instants in its row. Pure.

All instants are the database's, so that no two machines need agree; null where one of the two is
not known. A step that was noted by a clock that was set back is 0, never negative.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdev.domain.commands import Command


def timings_of(command: Command) -> dict[str, int | None]:
    """In order: what the queue, its workspace, the command and rdev itself took of its time."""
    claimed_at = command.claimed_at
    if claimed_at is None and command.started_at is None:
        claimed_at = command.finished_at  # it waited to its end
    return {
        "queued_ms": _ms(command.queued_at, claimed_at),
        "workspace_ms": _ms(command.waiting_since, claimed_at),
        "starting_ms": _ms(command.claimed_at, command.started_at),
        "first_output_ms": _ms(command.started_at, command.first_output_at),
        "running_ms": _ms(command.started_at, command.ended_at),
        "closing_ms": _ms(command.ended_at, command.finished_at),
        "archiving_ms": _ms(command.finished_at, command.archived_at),
    }


def _ms(begin: datetime | None, end: datetime | None) -> int | None:
    if begin is None or end is None:
        return None
    return max(0, round((end - begin).total_seconds() * 1000))
