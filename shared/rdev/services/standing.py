"""How everything stands, for the gauges of whoever is scraped: asked of the database now and then,
however many scrape, and once at a time. A database that hangs holds up no scrape for longer than a
moment: what else the process has to tell is told."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from rdev.domain.sweeps import LastSweep
from rdev.errors import RdevError
from rdev.ports import Transactions, metrics
from rdev.ports.measuring import Gauge, Reading

log = logging.getLogger(__name__)

_EVERY_S = 5.0
_PATIENCE_S = 1.0
"""No scrape waits for longer, however many gauges it reads."""
_GOOD_S = 120.0
"""For so long a database that is slower than that is told of as it was."""

GAUGES = (
    metrics.QUEUE_COMMANDS,
    metrics.QUEUE_OLDEST,
    metrics.QUEUE_CLAIMABLE,
    metrics.SWEPT_AT,
    metrics.WEBHOOK_BACKLOG,
    metrics.WEBHOOK_OLDEST,
    metrics.WEBHOOK_ENDPOINTS,
    metrics.PROJECTS,
    metrics.ARCHIVE_BACKLOG,
)


class Standing:
    """Where the database cannot be asked there are no readings: nothing old is told as new."""

    def __init__(
        self,
        transaction: Transactions,
        *,
        max_concurrent: int,
        every_s: float = _EVERY_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`max_concurrent`: the limit of keys that have none of their own."""
        self._transaction = transaction
        self._max_concurrent = max_concurrent
        self._now_s = now
        self._every_s = every_s
        self._changed = threading.Condition()
        self._began_at: float | None = None
        self._ended_at = -float("inf")
        self._known: Mapping[Gauge, Sequence[Reading]] = {}

    def watch(self) -> None:
        """Have the gauges read from here."""
        for gauge in GAUGES:
            gauge.watch(lambda gauge=gauge: self._now().get(gauge, ()))  # type: ignore[misc] # bound

    def _now(self) -> Mapping[Gauge, Sequence[Reading]]:
        with self._changed:
            if self._began_at is None and time.monotonic() - self._ended_at >= self._every_s:
                self._began_at = time.monotonic()
                threading.Thread(target=self._look, name="standing", daemon=True).start()
            while self._began_at is not None:
                left_s = self._began_at + _PATIENCE_S - time.monotonic()
                if left_s <= 0:
                    good = time.monotonic() - self._ended_at < _GOOD_S
                    return self._known if good else {}
                self._changed.wait(left_s)
            return self._known

    def _look(self) -> None:
        known: Mapping[Gauge, Sequence[Reading]] = {}
        try:
            known = self._ask()
        except RdevError as exc:
            log.warning("how everything stands is not known: %s", exc)
        finally:
            with self._changed:
                self._known = known
                # Also where it failed: the next scrape is not to wait as long.
                self._began_at, self._ended_at = None, time.monotonic()
                self._changed.notify_all()

    def _ask(self) -> Mapping[Gauge, Sequence[Reading]]:
        with self._transaction(reading=True) as tx:
            depth, standing = tx.queue.depth(), tx.standing
            return {
                metrics.QUEUE_COMMANDS: [
                    ((str(row["priority"]), status), float(str(row[status])))
                    for row in depth
                    for status in ("waiting", "running")
                ],
                metrics.QUEUE_OLDEST: [
                    ((str(row["priority"]),), float(str(row["oldest_s"]))) for row in depth
                ],
                metrics.QUEUE_CLAIMABLE: _readings(tx.queue.claimable(self._max_concurrent)),
                metrics.SWEPT_AT: [((), self._swept_at(tx.queue.last_sweep()))],
                metrics.WEBHOOK_BACKLOG: _readings(standing.backlog()),
                metrics.WEBHOOK_OLDEST: [((), standing.oldest_due_s())],
                metrics.WEBHOOK_ENDPOINTS: _readings(standing.endpoints()),
                metrics.PROJECTS: _readings(standing.projects()),
                metrics.ARCHIVE_BACKLOG: [((), float(standing.unarchived()))],
            }

    def _swept_at(self, last: LastSweep | None) -> float:
        """By our clock: how long ago it was is what the database knows."""
        if last is None or last.completed_s is None:
            return 0.0
        return self._now_s() - last.completed_s


def _readings(counts: Mapping[str, int]) -> list[Reading]:
    return [((what,), float(n)) for what, n in counts.items()]
