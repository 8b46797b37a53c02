"""Archiving, in the background of a runner: segments while long commands run, the rest at their
end, and in time their removal.

It only ever reads what Redis holds, so nothing piles up here: while the archive does not answer,
Redis keeps what is not archived, commands go on, and what has ended is left to later sweeps.
"""

import logging
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rdev.domain.commands import Command, Position
from rdev.domain.segments import size_of
from rdev.errors import RdevError
from rdev.ports import EventStreams, SegmentArchive, Transactions, Workspaces
from rdev.services.concluding import ArchiveRules, Concluding
from rdev.services.paced import PacedStreams
from rdev.services.retirement import Retirement
from rdev.services.trails import SEGMENT_BYTES, Place, Trail

log = logging.getLogger(__name__)

_PACE_BYTES = 6 * 1024 * 1024
"""How far a command's output may be ahead of its archive before its runner reads on slower."""
_PACE_S = 1.0
_WORKERS = 2
_BATCH = 16
_MOST_WAITING = 1000
_RETIRE_SHARE = 0.05
"""Of the sweeps: nobody need remember the last time."""
_QUERY = re.compile(r"\?\S+")


@dataclass(slots=True)
class _Running:
    trail: Trail
    written: int = 0
    queued: bool = False

    @property
    def ahead(self) -> int:
        # Less than was read before: Redis lost the stream, and it is being filled again.
        read_to = self.trail.read_to
        return self.written - read_to if self.written >= read_to else self.written


class Archiver:
    """`start` and `stop` it. The other methods return at once, but for a little in `wrote`."""

    def __init__(
        self,
        transaction: Transactions,
        streams: EventStreams,
        workspaces: Workspaces,
        archive: SegmentArchive,
        rules: ArchiveRules,
    ) -> None:
        self._transaction = transaction
        self._streams = streams
        self._archive = archive
        self._rules = rules
        self._stopping = threading.Event()
        self._concluding = Concluding(
            transaction, streams, workspaces, archive, rules, stopping=self._stopping.is_set
        )
        self._changed = threading.Condition()
        self._running: dict[str, _Running] = {}
        self._due: deque[_Running] = deque()
        self._ended: deque[tuple[Command, Trail]] = deque()
        self._ended_ids: set[str] = set()
        self._busy = 0
        self._failures = 0
        self._resume_at = 0.0
        self._threads: list[threading.Thread] = []
        self._retirement = Retirement(
            transaction, archive, rules.retention_days, stopping=self._stopping.is_set
        )
        self._retirement_due = False

    def watching(self, streams: EventStreams) -> EventStreams:
        """The streams for whoever appends to them."""
        return PacedStreams(streams, self.wrote)

    # --- called by the runner --------------------------------------------------------------------

    def start(self) -> None:
        for number in range(_WORKERS):
            thread = threading.Thread(target=self._work, name=f"archive-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, wait_s: float = 0.5) -> None:
        """Begin nothing more. What is under way may be broken off: it is done again."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        until = time.monotonic() + wait_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def flush(self, until: float, broken_off: Callable[[], bool]) -> None:
        """Wait until all that ended is archived, at the latest until then (monotonic)."""
        with self._changed:
            while (self._ended or self._busy) and not (self._failures or broken_off()):
                left_s = until - time.monotonic()
                if left_s <= 0:
                    return
                self._changed.wait(min(left_s, 0.2))

    def wrote(self, place: Place, position: Position) -> None:
        """A running command's stream reaches up to here. Waits a little where the archive, while
        it answers, does not keep up."""
        written = size_of(position, "all")
        running = self._running.get(place[1])
        if running is None:
            if written < SEGMENT_BYTES:
                return
            trail = Trail(self._streams, self._archive, place)
            running = self._running[place[1]] = _Running(trail)
        running.written = written
        if running.ahead < SEGMENT_BYTES:
            return
        with self._changed:
            if not running.queued:
                running.queued = True
                self._due.append(running)
                self._changed.notify_all()
            if running.ahead > _PACE_BYTES:
                self._changed.wait_for(
                    lambda: (
                        running.ahead <= _PACE_BYTES or self._failures or self._stopping.is_set()
                    ),
                    _PACE_S,
                )

    def let_go(self, command_id: str) -> None:
        """Somebody else follows it now."""
        self._running.pop(command_id, None)

    def ended(self, command: Command) -> None:
        """The command's end is announced: archive the rest, then clean up after it."""
        with self._changed:
            running = self._running.pop(command.id, None)
            if command.id not in self._ended_ids and len(self._ended) < _MOST_WAITING:
                self._ended_ids.add(command.id)
                self._ended.append(
                    (command, running.trail if running else self._concluding.trail(command))
                )
                self._changed.notify_all()

    def sweep(self) -> None:
        """Take up what ended and is not archived, whoever was to do it, and now and then what was
        kept for long enough. Raises StoreUnavailable."""
        room = _MOST_WAITING - len(self._ended)
        if room < _BATCH or time.monotonic() < self._resume_at:
            return
        with self._transaction() as tx:
            left = list(tx.archive.unarchived(older_than_s=self._rules.overdue_s, limit=room))
        # One that cannot be stored ends its batch: it is not to be the same batch every time.
        random.shuffle(left)
        for command in left:
            self.ended(command)
        if random.random() < _RETIRE_SHARE:  # noqa: S311 - a share, not a secret
            self._retirement_due = True

    # --- in the background -----------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stopping.is_set():
            job = self._next_job()
            if job is None:
                continue
            try:
                job()
                self._failures = 0
            except Exception as exc:  # noqa: BLE001 - whatever it is: again, later
                self._pause(exc)
            finally:
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()

    def _next_job(self) -> Callable[[], None] | None:
        with self._changed:
            if not (self._due or self._ended or self._retirement_due):
                self._changed.wait(1.0)
            job: Callable[[], None] | None = None
            if self._retirement_due:
                self._retirement_due = False
                job = self._retirement.run
            elif self._due:
                running = self._due.popleft()
                job = lambda: self._advance(running)  # noqa: E731 - binds this one
            elif self._ended:
                batch = [self._ended.popleft() for _ in range(min(_BATCH, len(self._ended)))]
                job = lambda: self._conclude_all(batch)  # noqa: E731 - binds this one
            if job is not None:
                self._busy += 1
            return job

    def _pause(self, exc: Exception) -> None:
        self._failures += 1
        if not isinstance(exc, RdevError):
            log.error("archiving: will try again", exc_info=exc)
        elif self._failures == 1:
            log.warning("archiving waits, commands go on: %s (%s)", exc, _cause(exc))
        longest = min(self._rules.longest_pause_s, 0.5 * 2 ** min(self._failures, 10))
        pause_s = longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        self._resume_at = time.monotonic() + pause_s
        self._stopping.wait(pause_s)

    def _advance(self, running: _Running) -> None:
        trail = running.trail
        try:
            with trail.lock:
                trail.begin()
                if running.ahead >= SEGMENT_BYTES:
                    trail.store()
                    trail.trim()
        finally:
            with self._changed:
                # Gone from there: it ended, and the rest comes with its end.
                wanted = self._running.get(trail.place[1]) is running
                running.queued = wanted and running.ahead >= SEGMENT_BYTES
                if running.queued:
                    self._due.append(running)

    def _conclude_all(self, ended: list[tuple[Command, Trail]]) -> None:
        try:
            self._concluding.all(ended)
        finally:
            with self._changed:
                self._ended_ids.difference_update(command.id for command, _ in ended)


def _cause(exc: Exception) -> str:
    """The driver's first line, without the query of a URL: a signed one is a credential."""
    return _QUERY.sub("?...", str(exc.__cause__ or "").partition("\n")[0])
