"""The leases that one runner holds, as its process sees them."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

from rdev.domain.commands import Claim, Outage
from rdev.errors import StoreUnavailable
from rdev.ports import Transactions
from rdev.services.pauses import Pauses

log = logging.getLogger(__name__)

T = TypeVar("T")

Pair = tuple[str, int]
"""A command's id and the epoch of its claim."""

Ask = Callable[[Sequence[Pair]], Mapping[str, bool]]
"""Renews leases; by command, whether its cancel was asked for. What is ours no more is missing."""


class LeaveIt(Exception):
    """This runner is stopping, or the command belongs to another claim now."""


@dataclass(slots=True)
class Held:
    """A lease. `lost`: the command belongs to another claim; whatever we know of it is stale."""

    claim: Claim
    lost: bool = False
    cancel: bool = False
    confirmed_at: float = field(default_factory=time.monotonic)
    """When it was ours for certain."""
    rung: threading.Event = field(default_factory=threading.Event)
    """Somebody rang for the command: its row or its input has changed."""
    step_aside: Callable[[], None] = lambda: None
    """To be called where its workspace has not answered for long: others are to have the slot."""
    outage: Callable[[], Outage] = Outage
    """Of its workspace, as this process has seen it."""
    aside: bool = False
    """It takes up no slot."""
    start_recorded: bool = False
    """The row says that it has started, for certain."""
    started_at: float | None = None
    """When this process saw that it had started (monotonic)."""
    first_output_at: float | None = None
    """When this process saw it write for the first time (monotonic); None: not yet, or others
    have seen it."""

    @property
    def pair(self) -> Pair:
        return self.claim.command.id, self.claim.command.epoch

    @property
    def started_s(self) -> float:
        """How long ago this process saw that it had started; 0 where it only knows of it."""
        return 0.0 if self.started_at is None else time.monotonic() - self.started_at

    @property
    def first_output_s(self) -> float | None:
        """How long ago that was."""
        return None if self.first_output_at is None else time.monotonic() - self.first_output_at


def leave(held: Held) -> NoReturn:
    """It is somebody else's now."""
    held.lost = True
    raise LeaveIt


def leave_if_told(held: Held, stopping: threading.Event) -> None:
    if stopping.is_set() or held.lost:
        raise LeaveIt


def insist(held: Held, stopping: threading.Event, act: Callable[[], T]) -> T:
    """Again until the store answers, for as long as the lease is ours."""
    pauses = Pauses(stopping)
    while True:
        try:
            return act()
        except StoreUnavailable as exc:
            leave_if_told(held, stopping)
            log.warning("closing %s: %s", held.claim.command.id, exc)
            pauses.pause()


class Leases:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._given_back = False
        self._held: dict[str, Held] = {}

    def hold(self, claim: Claim) -> Held:
        """Note a claim. One of ours on the same command that had run out is lost by it."""
        command = claim.command
        held = Held(
            claim,
            cancel=command.cancel_requested_at is not None,
            start_recorded=command.started_at is not None,
        )
        with self._lock:
            before = self._held.get(command.id)
            if before is not None:
                before.lost = True
            self._held[command.id] = held
        return held

    def drop(self, held: Held) -> None:
        """Forget it, and only it: a later claim on the same command stays."""
        command_id = held.claim.command.id
        with self._lock:
            if self._held.get(command_id) is held:
                del self._held[command_id]

    def pairs(self) -> list[Pair]:
        with self._lock:
            return [held.pair for held in self._held.values()]

    def release(self, transaction: Transactions) -> None:
        """Give all back, so that another runner need not wait for their end. A renewal that is
        under way comes first, and none after it: it would undo this."""
        with self._asking:
            self._given_back = True
            with transaction() as tx:
                tx.queue.release(
                    self.pairs(), first_output_s=self.first_outputs(), outages=self._outages()
                )

    def first_outputs(self) -> dict[str, float]:
        """How many seconds ago each first wrote something, where this process has seen it."""
        with self._lock:
            held = list(self._held.items())
        return {each: ago_s for each, mine in held if (ago_s := mine.first_output_s) is not None}

    def _outages(self) -> dict[str, Outage]:
        with self._lock:
            held = list(self._held.items())
        return {each: mine.outage() for each, mine in held}

    def rung(self, command_ids: Iterable[str]) -> list[Held]:
        """Those of ours that somebody rang for, marked as such."""
        with self._lock:
            ours = [self._held[each] for each in set(command_ids) if each in self._held]
        for held in ours:
            held.rung.set()
        return ours

    def renew(self, ask: Ask) -> None:
        """Renew all by `ask`; none once they were given back."""
        with self._asking:
            with self._lock:
                held = [] if self._given_back else list(self._held.values())
            if held:
                renew(held, ask)


def renew(held: Sequence[Held], ask: Ask) -> None:
    """Renew these by `ask`: what is missing in its answer is lost."""
    asked_at = time.monotonic()
    answer = ask([mine.pair for mine in held])
    for mine in held:
        command_id = mine.claim.command.id
        if command_id in answer:
            mine.cancel = mine.cancel or answer[command_id]
            mine.confirmed_at = asked_at
        else:
            mine.lost = True
