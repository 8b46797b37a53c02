"""How many commands one runner sees through at once: a thread for each, as long as there is
something to claim."""

import logging
import threading
from collections.abc import Callable
from functools import partial

from rdev.domain.commands import Claim
from rdev.services.leases import Held, Leases, LeaveIt

log = logging.getLogger(__name__)

_MOST_ASIDE = 4
"""As many times its slots a runner sees through beside them, of what waits for a workspace that
does not answer."""


class Slots:
    """`claim` finds the next command to see through, if there is one, and `see_through` does it;
    `let_go` is told of each command that this runner holds no more."""

    def __init__(
        self,
        count: int,
        leases: Leases,
        stopping: threading.Event,
        *,
        claim: Callable[[], Claim | None],
        see_through: Callable[[Held], None],
        let_go: Callable[[str], None],
    ) -> None:
        self._free = threading.BoundedSemaphore(count)
        self._aside, self._most_aside = 0, _MOST_ASIDE * count
        self._leases = leases
        self._stopping = stopping
        self._claim = claim
        self._see_through = see_through
        self._let_go = let_go
        self._changed = threading.Condition()
        self.busy = 0

    def fill(self) -> None:
        """Start a worker for each free slot while there is something to claim."""
        while self._enter():
            claim = None
            try:
                claim = self._claim()
            finally:
                if claim is None:
                    self._leave()
            if claim is None:
                return
            self._give(claim)

    def wait_free(self, timeout_s: float) -> None:
        """Wait for all workers to have ended, and for claims that are under way: once this runner
        is stopping, none begins behind its back."""
        with self._changed:
            self._changed.wait_for(lambda: self.busy == 0, timeout_s)

    def _enter(self) -> bool:
        """Take a slot, if one is free and may still be filled."""
        if not self._free.acquire(blocking=False):
            return False
        with self._changed:
            self.busy += 1
        if self._stopping.is_set():  # asked only now: whoever waits for us sees the slot taken
            self._leave()
            return False
        return True

    def _give(self, claim: Claim) -> None:
        """The caller holds a slot; the worker frees it."""
        held = self._leases.hold(claim)
        name = claim.command.id
        try:
            threading.Thread(target=self._work, args=(held,), name=name, daemon=True).start()
        except BaseException:  # no more threads: a lease that nobody works for is not to be renewed
            self._leases.drop(held)
            self._leave()
            raise

    def _work(self, held: Held | None) -> None:
        """See commands through, one after the other, until there is none to claim: whoever frees
        a place under a key's limit also fills it."""
        aside = False
        try:
            while held is not None:
                held.step_aside = partial(self._step_aside, held)
                self._see_one_through(held)
                aside = held.aside
                claim = None if self._stopping.is_set() or aside else self._claim()
                held = self._leases.hold(claim) if claim else None
        finally:
            self._leave(aside=aside)

    def _step_aside(self, held: Held) -> None:
        """Its slot goes to others until it has ended: a node that is lost with as many commands
        as there are slots is not to keep all other projects waiting."""
        with self._changed:
            if held.aside or self._aside >= self._most_aside:
                return
            held.aside = True
            self._aside += 1
        log.info("%s waits for its workspace beside the slots", held.claim.command.id)
        self._free.release()

    def _leave(self, *, aside: bool = False) -> None:
        if not aside:
            self._free.release()
        with self._changed:
            self._aside -= aside
            self.busy -= 1
            self._changed.notify_all()

    def _see_one_through(self, held: Held) -> None:
        try:
            self._see_through(held)
        except LeaveIt:
            if not held.lost:
                return  # stays among our leases: the handover releases it
        except Exception:
            # Whatever it is, the command goes on: its lease runs out and it is taken up again.
            log.exception("left %s to the sweep", held.claim.command.id)
        self._leases.drop(held)
        self._let_go(held.claim.command.id)
