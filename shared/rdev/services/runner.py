"""The runner: takes commands from the queue and sees them through, as many at once as it has slots.

It keeps nothing that another runner would miss. Its leases are renewed by one thread; cancels come
by a doorbell, or with the next renewal where the doorbell was not heard.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from rdev.domain.commands import Claim, Priority
from rdev.errors import StoreUnavailable, Unavailable, WorkspaceUnavailable
from rdev.failpoints import reach
from rdev.ports import EventStreams, QueueTickets, Transactions, Workspaces, metrics
from rdev.services.archive import Archiver
from rdev.services.attempt import Attempt
from rdev.services.background import Background
from rdev.services.claiming import Claiming
from rdev.services.closing import Closing
from rdev.services.going_back import WAIT_AGAIN_S
from rdev.services.leases import Leases
from rdev.services.lifecycle import Lifecycle
from rdev.services.rules import Rules
from rdev.services.slots import Slots
from rdev.services.sweep import Sweep

log = logging.getLogger(__name__)

_TICKET_WAIT_S = 1.0
_DRAIN_LOOK_S = 0.1
_LEAVING_S = 3.0  # of a stopping runner's 5 s, for its workers: the rest is for the stores


@dataclass(frozen=True, slots=True)
class RunnerRules:
    slots: int
    lease_s: float
    renew_s: float
    sweep_s: float
    max_concurrent: int
    following: Rules
    audit_retention_days: float = 0.0
    """0: for ever."""


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
        archiver: Archiver | None = None,
        *,
        lifecycle: Lifecycle | None = None,
        sweeps: Sequence[Callable[[], None]] = (),
    ) -> None:
        """`sweeps` are done with each sweep, beside what is the queue's."""
        self.name = name
        self._transaction = transaction
        self._tickets = tickets
        self._workspaces = workspaces
        self._rules = rules
        self.handed_over = threading.Event()
        self._stopping = threading.Event()
        self._leases = Leases()
        self._archiver = archiver
        closing = Closing(
            transaction, streams, workspaces, archive=archiver.ended if archiver else None
        )
        self._sweep = Sweep(
            transaction,
            tickets,
            workspaces,
            closing,
            every_s=rules.sweep_s,
            audit_retention_days=rules.audit_retention_days,
            more=sweeps,
        )
        watched = archiver.watching(streams) if archiver else streams
        self._attempt = Attempt(
            transaction,
            watched,
            workspaces,
            closing,
            rules.following,
            self._stopping,
            lifecycle or Lifecycle(transaction, workspaces),
            on_wait=self._look_again_in,
        )
        self._look_again_at: list[float] = []
        self._claiming = Claiming(
            name,
            transaction,
            lease_s=rules.lease_s,
            max_concurrent=rules.max_concurrent,
            boot_id=workspaces.boot_id,
        )
        self._leases_first = threading.Event()
        self._slots = Slots(
            rules.slots,
            self._leases,
            self._stopping,
            claim=self._claim,
            see_through=self._attempt.see_through,
            let_go=archiver.let_go if archiver else lambda _command_id: None,
        )
        metrics.RUNNER_SLOTS.watch(lambda: [((), rules.slots)])
        metrics.RUNNER_COMMANDS.watch(lambda: [((), self._slots.busy)])
        self._background = Background(self._stopping)

    # --- as a resident process, or inside a request ----------------------------------------------

    def run(self) -> None:
        """Serve until `stop()`; then hand over what runs, without touching it."""
        if self._archiver:
            self._archiver.start()
        self._background.run(self._renew_leases, self._hear_doorbell, self._sweep_regularly)
        self._slots.fill()
        while not self._stopping.is_set():
            self._await_ticket(_TICKET_WAIT_S)
        self._hand_over()

    def drain(self, for_s: float) -> bool:
        """Work inside a request: until nothing is eligible and nothing runs, or the time is over;
        then hand over what still runs. Whether something is left for the next wake-up."""
        until = time.monotonic() + for_s
        if self._archiver:
            self._archiver.start()
        self._background.run(self._renew_leases, self._hear_doorbell)
        try:
            self._look_everywhere()
            # A worker ends only when there was nothing for it to claim.
            while time.monotonic() < until and not self._stopping.is_set():
                if not (self._slots.busy or self._look_again_at):
                    break
                self._await_ticket(_DRAIN_LOOK_S)
            if self._archiver:
                self._archiver.flush(until, self._stopping.is_set)
        finally:
            self.stop()
            left = self._hand_over()
        return left

    def nudge(self) -> None:
        """Sweep and fill free slots now, beside `run()`."""
        self._look_everywhere()

    def stop(self) -> None:
        self._stopping.set()

    def _hand_over(self) -> bool:
        """Have the workers leave what they follow, give all leases back, and wake somebody."""
        self._slots.wait_free(_LEAVING_S)
        held = self._leases.pairs()
        if held:
            log.info("handing over %d commands", len(held))
            self._try(lambda: self._leases.release(self._transaction))
        reach("handover.released")
        if self._archiver:
            self._archiver.stop()
        left = bool(held) or self._waiting()
        if left:
            self._try(lambda: self._tickets.offer(Priority.HIGH, held[0][0] if held else ""))
        self._try(lambda: self._tickets.forget_consumer(self.name))
        self.handed_over.set()
        return left

    def _waiting(self) -> bool:
        try:
            with self._transaction() as tx:
                return bool(tx.queue.oldest_waiting())
        except StoreUnavailable:
            return True  # nobody knows; to be woken for nothing costs little

    # --- in the background -----------------------------------------------------------------------

    def _claim(self) -> Claim | None:
        claim, none_left = self._claiming.next(leases_first=self._leases_first.is_set())
        if none_left:
            self._leases_first.clear()
        return claim

    def _look_again_in(self, for_s: float) -> None:
        """A command waits for its workspace: no ticket tells when it is to be claimed again."""
        self._look_again_at.append(time.monotonic() + for_s + WAIT_AGAIN_S / 2)

    def _to_look_again(self) -> bool:
        """Whether it is time for that: once for all for which it is, however many they are."""
        now = time.monotonic()
        due = [each for each in tuple(self._look_again_at) if each <= now]
        for each in due:  # one by one: workers add to it meanwhile
            self._look_again_at.remove(each)
        return bool(due)

    def _await_ticket(self, timeout_s: float) -> None:
        look_at = min(self._look_again_at, default=None)
        if look_at is not None:
            timeout_s = min(timeout_s, max(0.01, look_at - time.monotonic()))
        try:
            came = self._tickets.take(self.name, timeout_s)
            if self._to_look_again() or came:
                self._slots.fill()
        except StoreUnavailable as exc:
            log.warning("no tickets: %s", exc)
            self._slots.fill()
            self._stopping.wait(timeout_s)

    def _renew_leases(self) -> None:
        while not self._stopping.wait(self._rules.renew_s):
            self._try(self._renew)

    def _renew(self) -> None:
        with self._transaction() as tx:
            outputs, lease_s = self._leases.first_outputs(), self._rules.lease_s
            self._leases.renew(
                lambda pairs: tx.queue.renew(pairs, lease_s=lease_s, first_output_s=outputs)
            )

    def _hear_doorbell(self) -> None:
        after = "$"
        while not self._stopping.is_set():
            try:
                after, rung = self._tickets.rung(after, _TICKET_WAIT_S)
                ours = self._leases.rung(rung)
                if ours:
                    self._renew()
                for held in ours:  # so that a quiet command is looked at now
                    command = held.claim.command
                    with suppress(WorkspaceUnavailable):  # gone: whoever waits for it will notice
                        self._workspaces.of(command.project_id).wake(command.id)
            except Unavailable as exc:
                log.warning("no doorbell: %s", exc)
                self._stopping.wait(1.0)

    def _sweep_regularly(self) -> None:
        while not self._stopping.wait(self._rules.sweep_s * random.uniform(0.8, 1.2)):  # noqa: S311
            self._look_everywhere()

    def _look_everywhere(self) -> None:
        self._leases_first.set()
        self._slots.fill()
        self._sweep.run()
        if self._archiver:
            self._try(self._archiver.sweep)
        self._slots.fill()

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except (Unavailable, WorkspaceUnavailable) as exc:
            log.warning("left to the sweep: %s", exc)
