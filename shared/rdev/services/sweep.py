"""The sweep: makes good what fell through. By any runner, at any time, at once with others."""

import logging
import random
from collections.abc import Callable, Sequence

from rdev.domain.commands import one_line
from rdev.errors import RdevError, StoreUnavailable
from rdev.ports import QueueTickets, Transactions, Workspaces, metrics
from rdev.services import facts
from rdev.services.closing import Closing, count_end

log = logging.getLogger(__name__)

_UNSEEN_S = 2.0
_AT_ONCE = 100
_STALE_TICKET_S = 10.0
_DAY_S = 86400.0
_SEALS = 10
_SEALED_AT_ONCE = 1000
_CUTS = 100


class Sweep:
    """`every_s` is about how often it is called, so that what is done daily is spread over all
    sweeps of all replicas without anybody remembering the last time. `more` is done each time."""

    def __init__(
        self,
        transaction: Transactions,
        tickets: QueueTickets,
        workspaces: Workspaces,
        closing: Closing,
        *,
        every_s: float,
        audit_retention_days: float = 0,
        more: Sequence[Callable[[], None]] = (),
    ) -> None:
        self._more = tuple(more)
        self._transaction = transaction
        self._tickets = tickets
        self._workspaces = workspaces
        self._closing = closing
        self._audit_retention_s = audit_retention_days * _DAY_S
        self._daily_share = min(1.0, every_s / _DAY_S)

    def run(self) -> None:
        """One that fails keeps none of the others from being done. How it went is written down,
        where everybody can see it: a runner that hangs or is gone writes nothing."""
        steps = (self._see_off, self._renew_tickets, self._seal, *self._more, self._daily)
        problems = [problem for step in steps if (problem := self._attempt(step))]
        self._attempt(lambda: self._note(problems[0] if problems else ""))

    def _note(self, problem: str) -> None:
        with self._transaction() as tx:
            tx.queue.note_sweep(problem)

    def _see_off(self) -> None:
        with self._transaction() as tx:
            tx.queue.rebase_waiting()
            expired = tx.queue.expire_waiting()
            for command in expired:
                facts.command_finished(tx, command)
            unseen = tx.queue.unannounced(older_than_s=_UNSEEN_S, limit=_AT_ONCE)
        for command in expired:
            count_end(command)
        for command in [*expired, *unseen]:
            try:
                self._closing.see_off(command)
            except StoreUnavailable:
                raise  # it would be the same for the others, each after its time limit
            except Exception as exc:  # noqa: BLE001 - one keeps none of the others from it
                _note(exc)

    def _renew_tickets(self) -> None:
        """Queued commands without a ticket get one: it wakes those who wait for tickets alone."""
        self._tickets.reclaim(idle_s=_STALE_TICKET_S)
        with self._transaction() as tx:
            waiting = tx.queue.oldest_waiting()
        for priority, command_id in waiting:
            self._tickets.restock(priority, command_id)

    def _seal(self) -> None:
        """Chain what was written to the audit log since; what is too much waits for the next."""
        for _ in range(_SEALS):
            with self._transaction() as tx:
                if tx.audit.seal(_SEALED_AT_ONCE) < _SEALED_AT_ONCE:
                    return

    def _daily(self) -> None:
        if random.random() < self._daily_share:  # noqa: S311 - a share, not a secret
            with self._transaction() as tx:
                tx.queue.forget_requests()
            self._workspaces.prune()
            self._cut_audit()

    def _cut_audit(self) -> None:
        """What is too much waits for another day: nothing else is to wait for it."""
        if not self._audit_retention_s:
            return
        for _ in range(_CUTS):
            with self._transaction() as tx:
                if tx.audit.cut(self._audit_retention_s, _SEALED_AT_ONCE) < _SEALED_AT_ONCE:
                    return

    def _attempt(self, step: Callable[[], None]) -> str | None:
        """Why it failed, in words that may be shown: only rdev's own."""
        try:
            step()
        except Exception as exc:  # noqa: BLE001 - one keeps none of the others from it
            _note(exc)
            metrics.SWEEPS.add("failed")
            if isinstance(exc, RdevError):
                return one_line(exc.message)
            return f"rdev met an error of its own ({type(exc).__name__}): see the runner's log."
        metrics.SWEEPS.add("done")
        return None


def _note(exc: Exception) -> None:
    if isinstance(exc, RdevError):
        log.warning("left to the next sweep: %s", exc)
    else:
        log.error("left to the next sweep", exc_info=exc)
