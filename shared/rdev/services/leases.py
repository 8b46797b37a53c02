"""The leases that one runner holds, as its process sees them."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rdev.domain.commands import Claim

Pair = tuple[str, int]
"""A command's id and the epoch of its claim."""


@dataclass(slots=True)
class Held:
    """A lease. `lost`: the command belongs to another claim; whatever we know of it is stale."""

    claim: Claim
    lost: bool = False
    cancel: bool = False
    rung: threading.Event = field(default_factory=threading.Event)
    """Somebody rang for the command: its row or its input has changed."""

    @property
    def pair(self) -> Pair:
        return self.claim.command.id, self.claim.command.epoch


class Leases:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, Held] = {}

    def hold(self, claim: Claim) -> Held:
        """Note a claim. One of ours on the same command that had run out is lost by it."""
        held = Held(claim, cancel=claim.command.cancel_requested_at is not None)
        with self._lock:
            before = self._held.get(claim.command.id)
            if before is not None:
                before.lost = True
            self._held[claim.command.id] = held
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

    def rung(self, command_ids: Iterable[str]) -> list[Held]:
        """Those of ours that somebody rang for, marked as such."""
        with self._lock:
            ours = [self._held[each] for each in set(command_ids) if each in self._held]
        for held in ours:
            held.rung.set()
        return ours

    def renew(self, ask: Callable[[Sequence[Pair]], Mapping[str, bool]]) -> None:
        """Renew all by `ask`: what is missing in its answer is lost."""
        with self._lock:
            held = list(self._held.values())
        if not held:
            return
        answer = ask([mine.pair for mine in held])
        for mine in held:
            command_id = mine.claim.command.id
            if command_id in answer:
                mine.cancel = mine.cancel or answer[command_id]
            else:
                mine.lost = True
