"""The runner: takes commands from the queue and sees them through, each in a slot of its own.

It keeps nothing that another runner would miss. Its leases are renewed by one thread; cancels come
by a doorbell, or with the next renewal where the doorbell was not heard.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from rdev.domain.commands import Claim, Command, Ending, Priority, Status
from rdev.domain.events import FINISHED, STARTED, Announced
from rdev.domain.records import record_of
from rdev.errors import StoreUnavailable, Unavailable, WorkspaceUnavailable
from rdev.ports import EventStreams, QueueTickets, Transactions, Workspaces
from rdev.services.following import Following, Rules, carry_output

log = logging.getLogger(__name__)

T = TypeVar("T")

_OVERDUE_S = 30.0
_OVERDUE_SHARE = 0.2
_MOST_FAILURES = 5
_TICKET_WAIT_S = 1.0


class _LeaveIt(Exception):
    """This runner is stopping, or the command belongs to another one now."""


@dataclass(frozen=True, slots=True)
class RunnerRules:
    slots: int
    lease_s: float
    renew_s: float
    sweep_s: float
    max_concurrent: int
    following: Rules


@dataclass(slots=True)
class _Held:
    """A lease as this process sees it."""

    claim: Claim
    lost: bool = False
    cancel: bool = False


class Runner:
    """`run()` blocks until `stop()`; `drain(for_s)` until nothing is eligible or time is over."""

    def __init__(
        self,
        name: str,
        transaction: Transactions,
        tickets: QueueTickets,
        streams: EventStreams,
        workspaces: Workspaces,
        rules: RunnerRules,
    ) -> None:
        self.name = name
        self._transaction = transaction
        self._tickets = tickets
        self._streams = streams
        self._workspaces = workspaces
        self._rules = rules
        self.handed_over = threading.Event()
        self._stopping = threading.Event()
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(rules.slots)
        self._pool = ThreadPoolExecutor(rules.slots, thread_name_prefix="slot")

    # --- as a resident process -------------------------------------------------------------------

    def run(self) -> None:
        """Serve until `stop()`; then hand over what runs, without touching it."""
        background = [
            threading.Thread(target=self._renew_leases, name="renew", daemon=True),
            threading.Thread(target=self._hear_doorbell, name="doorbell", daemon=True),
            threading.Thread(target=self._sweep_regularly, name="sweep", daemon=True),
        ]
        for thread in background:
            thread.start()
        self._fill_slots()
        while not self._stopping.is_set():
            try:
                if self._tickets.take(self.name, _TICKET_WAIT_S):
                    self._fill_slots()
            except StoreUnavailable as exc:
                log.warning("no tickets: %s", exc)
                self._fill_slots()
                self._stopping.wait(1.0)
        self._hand_over()

    def drain(self, for_s: float) -> int:
        """Work inside a request: until nothing is eligible and nothing runs, or the time is over;
        then hand over what still runs. How many commands are left to others."""
        renewing = threading.Thread(target=self._renew_leases, name="renew", daemon=True)
        listening = threading.Thread(target=self._hear_doorbell, name="doorbell", daemon=True)
        renewing.start()
        listening.start()
        until = time.monotonic() + for_s
        self.sweep()
        self._fill_slots()
        while time.monotonic() < until and not self._stopping.is_set() and self._held:
            if self._tickets.take(self.name, min(0.2, for_s)):
                self._fill_slots()
        left = len(self._held)
        self.stop()
        self._hand_over()
        return left

    def nudge(self) -> None:
        """Sweep and fill free slots now, beside `run()`."""
        self.sweep()
        self._fill_slots()

    def stop(self) -> None:
        self._stopping.set()

    def _hand_over(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            held = [(h.claim.command.id, h.claim.command.epoch) for h in self._held.values()]
        if held:
            log.info("handing over %d commands", len(held))
            self._try(lambda: self._release(held))
            self._try(lambda: self._tickets.offer(Priority.HIGH, held[0][0]))
        self._try(lambda: self._tickets.forget_consumer(self.name))
        self.handed_over.set()

    def _release(self, held: list[tuple[str, int]]) -> None:
        with self._transaction() as tx:
            tx.queue.release(held)

    # --- slots -----------------------------------------------------------------------------------

    def _fill_slots(self) -> None:
        """Start a worker for each free slot while there is something to claim."""
        while not self._stopping.is_set() and self._slots.acquire(blocking=False):
            claim = self._claim()
            if claim is None:
                self._slots.release()
                return
            self._give_slot(claim)

    def _give_slot(self, claim: Claim) -> None:
        """The caller holds a slot; the worker frees it."""
        self._hold(claim)
        self._pool.submit(self._work, claim)

    def _work(self, claim: Claim) -> None:
        """See commands through, one after the other, until there is none to claim: whoever frees
        a place under a key's limit also fills it."""
        try:
            following: Claim | None = claim
            while following is not None:
                self._see_through(following)
                following = None if self._stopping.is_set() else self._claim()
                if following is not None:
                    self._hold(following)
        finally:
            self._slots.release()

    def _hold(self, claim: Claim) -> None:
        with self._lock:
            self._held[claim.command.id] = _Held(
                claim, cancel=claim.command.cancel_requested_at is not None
            )

    def _claim(self) -> Claim | None:
        try:
            with self._transaction() as tx:
                order = [Priority.HIGH, Priority.NORMAL, Priority.LOW]
                if random.random() < _OVERDUE_SHARE:  # noqa: S311 - a share, not a secret
                    # One claim in five serves what has waited long, so nothing starves.
                    order = [*tx.queue.overdue(_OVERDUE_S), *order]
                for priority in order:
                    claim = tx.queue.claim(
                        priority,
                        runner=self.name,
                        lease_s=self._rules.lease_s,
                        max_concurrent=self._rules.max_concurrent,
                    )
                    if claim is not None:
                        return claim
        except StoreUnavailable as exc:
            log.warning("cannot claim: %s", exc)
        return None

    # --- one command -----------------------------------------------------------------------------

    def _see_through(self, claim: Claim) -> None:
        command = claim.command
        held = self._held[command.id]
        try:
            ending = self._follow(held)
            if ending is not None:
                self._finish(held, ending)
        except _LeaveIt:
            if not held.lost:
                return  # still in `_held`: released by the handover
        except Exception:
            # Whatever it is, the command goes on: its lease runs out and it is taken up again.
            log.exception("left %s to the sweep", command.id)
        with self._lock:
            self._held.pop(command.id, None)

    def _follow(self, held: _Held) -> Ending | None:
        """The command's end, or None where it went back into the queue."""
        command = held.claim.command
        following: Following | None = None
        unavailable = 0
        while True:
            self._leave_if_told(held)
            try:
                following = following or self._following(held)
                return following.to_its_end()
            except WorkspaceUnavailable as exc:
                log.warning("workspace of %s: %s", command.id, exc)
                began = following is not None and following.began
                if command.started_at is None and not began:
                    return self._put_back(held)
            except StoreUnavailable as exc:
                log.warning("following %s: %s", command.id, exc)
            unavailable += 1
            self._stopping.wait(min(0.1 * 2**unavailable, 2.0))

    def _following(self, held: _Held) -> Following:
        command = held.claim.command
        with self._transaction() as tx:
            project = tx.projects.get(command.project_id)
        return Following(
            held.claim,
            {**(project.env if project else {}), **held.claim.env},
            self._workspaces.of(command.project_id),
            self._streams,
            self._rules.following,
            interrupted=lambda: self._leave_if_told(held),
            cancel_asked=lambda: held.cancel,
            on_start=lambda: self._started(command),
        )

    def _leave_if_told(self, held: _Held) -> None:
        if self._stopping.is_set() or held.lost:
            raise _LeaveIt

    def _started(self, command: Command) -> None:
        """The event, then the row: output may follow at once, and the row can be made good."""
        data = {"command": {**record_of(command), "status": "running"}, "attempt": 1}
        self._streams.announce(command.project_id, command.id, STARTED, data)
        if command.started_at is None:
            with self._transaction() as tx:
                tx.queue.started(command.id, command.epoch)

    def _put_back(self, held: _Held) -> Ending | None:
        command = held.claim.command
        if held.claim.failures + 1 >= _MOST_FAILURES:
            return Ending(Status.FAILED, reason="infrastructure", ran=False)
        with self._transaction() as tx:
            tx.queue.requeue(command.id, command.epoch, delay_s=2.0**held.claim.failures)
        return None

    def _finish(self, held: _Held, ending: Ending) -> None:
        command = held.claim.command
        closed = self._insist(held, lambda: self._close(command, ending))
        if closed is None:
            return
        try:
            self.announce(closed)
        except Unavailable as exc:
            log.warning("left to the sweep: %s", exc)
            return
        self._clean(command)

    def _clean(self, command: Command) -> None:
        self._try(lambda: self._workspaces.of(command.project_id).clean(command.id))

    def _close(self, command: Command, ending: Ending) -> Command | None:
        with self._transaction() as tx:
            return tx.queue.finish(command.id, command.epoch, ending)

    def announce(self, command: Command) -> None:
        """Publish `command.finished`. However often: the stream takes it once. Where Redis lost
        the stream, it is filled again from the workspace's files first."""
        data = {"command": record_of(command)}
        place = (command.project_id, command.id)
        said = self._streams.announce(*place, FINISHED, data, command.output)
        if said is Announced.BEHIND:
            carry_output(self._workspaces.of(command.project_id), self._streams, command)
            said = self._streams.announce(*place, FINISHED, data, command.output)
        if said is Announced.BEHIND:
            log.error("the output of %s is gone: its stream cannot be completed", command.id)
        with self._transaction() as tx:
            tx.queue.mark_announced(command.id)

    def _insist(self, held: _Held, act: Callable[[], T]) -> T:
        """Again until the store answers; leave it when told to."""
        attempt = 0
        while True:
            try:
                return act()
            except StoreUnavailable as exc:
                self._leave_if_told(held)
                log.warning("closing %s: %s", held.claim.command.id, exc)
                attempt += 1
                self._stopping.wait(min(0.1 * 2**attempt, 2.0))

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except (Unavailable, WorkspaceUnavailable) as exc:
            log.warning("left to the sweep: %s", exc)

    # --- in the background -----------------------------------------------------------------------

    def _renew_leases(self) -> None:
        while not self._stopping.wait(self._rules.renew_s):
            self._try(self._renew)

    def _renew(self) -> None:
        with self._lock:
            held = dict(self._held)
        if not held:
            return
        pairs = [(h.claim.command.id, h.claim.command.epoch) for h in held.values()]
        with self._transaction() as tx:
            answer = tx.queue.renew(pairs, lease_s=self._rules.lease_s)
        for command_id, mine in held.items():
            if command_id in answer:
                mine.cancel = mine.cancel or answer[command_id]
            else:
                mine.lost = True

    def _hear_doorbell(self) -> None:
        after = "$"
        while not self._stopping.is_set():
            try:
                after, rung = self._tickets.rung(after, _TICKET_WAIT_S)
                if any(command_id in self._held for command_id in rung):
                    self._renew()
            except Unavailable as exc:
                log.warning("no doorbell: %s", exc)
                self._stopping.wait(1.0)

    def _sweep_regularly(self) -> None:
        while not self._stopping.wait(self._rules.sweep_s * random.uniform(0.8, 1.2)):  # noqa: S311
            self._try(self.sweep)
            self._fill_slots()

    def sweep(self) -> None:
        """Make good what fell through. Any runner, any time, safely at once with others."""
        with self._transaction() as tx:
            expired = tx.queue.expire_waiting()
            unannounced = tx.queue.unannounced(older_than_s=2.0, limit=100)
            tx.queue.forget_requests()
        for command in [*expired, *unannounced]:
            self.announce(command)
            self._clean(command)
        self._take_over()

    def _take_over(self) -> None:
        while not self._stopping.is_set() and self._slots.acquire(blocking=False):
            with self._transaction() as tx:
                claims = tx.queue.take_over(runner=self.name, lease_s=self._rules.lease_s, limit=1)
            if not claims:
                self._slots.release()
                return
            log.info("taking over %s", claims[0].command.id)
            self._give_slot(claims[0])
