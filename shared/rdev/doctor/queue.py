"""What the queue and the sweep say about the runners. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from rdev.doctor.findings import Level, Trouble
from rdev.domain.sweeps import LATE_S, LastSweep

_LONG_S = 60.0
_TOO_LONG_S = 600.0
_RUNNERS = (
    "Look at the runners: `rdev up` logs to .rdev/log/runner.log; on Knative the Broker's Trigger "
    "and the PingSource `sweep-runner` wake them; under KEDA, its ScaledObject."
)


def judged_queue(depth: Iterable[Mapping[str, Any]], claimable: int | None = None) -> str:
    """Of the rows of GET /queue, and how many of those that wait no limit holds, where that is
    known. Raises Trouble."""
    rows = list(depth)
    waiting = sum(int(row["waiting"]) for row in rows)
    running = sum(int(row["running"]) for row in rows)
    oldest_s = max((float(row["oldest_s"]) for row in rows), default=0.0)
    found = f"{waiting} wait, the oldest for {oldest_s:.0f} s; {running} run"
    free = not running if claimable is None else claimable > 0
    if free and oldest_s > (_TOO_LONG_S if running else _LONG_S):
        raise Trouble(found, f"Nobody takes them. {_RUNNERS}")
    if oldest_s > _LONG_S:
        raise Trouble(
            found,
            "More is asked for than may run at once: limits of keys and projects "
            "(`max_concurrent`), or too few runners (RDEV_RUNNER_SLOTS).",
            level=Level.WARN,
        )
    return found


def judged_sweep(last: LastSweep | None, depth: Iterable[Mapping[str, Any]]) -> str:
    """Raises Trouble where nobody sweeps; no more than a warning while there is nothing to do,
    since runners may then be scaled to zero."""
    busy = any(int(row["waiting"]) or int(row["running"]) for row in depth)
    level = Level.FAIL if busy else Level.WARN
    if last is None:
        raise Trouble("nobody has swept yet", _RUNNERS, level=level)
    if last.late:
        ago = "never" if last.completed_s is None else f"{last.completed_s:.0f} s ago"
        found = f"the last whole sweep was {ago}, the last try {last.tried_s:.0f} s ago"
        if last.problem and last.tried_s <= LATE_S:
            raise Trouble(found, f"The last try says: {last.problem}")
        idle = "" if busy else " Nothing waits or runs: scaled to zero, this is no fault."
        raise Trouble(found, _RUNNERS + idle, level=level)
    if last.problem:
        raise Trouble(
            f"swept {last.completed_s:.0f} s ago; the last sweep left something: {last.problem}",
            "The next ones try again; look at what it names if it stays.",
            level=Level.WARN,
        )
    return f"swept {last.completed_s:.0f} s ago"
