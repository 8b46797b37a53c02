"""The sweep: makes good what fell through. By any runner, at any time, at once with others."""

import logging
import random
from collections.abc import Callable
from functools import partial

from rdev.errors import RdevError
from rdev.ports import QueueTickets, Transactions, Workspaces
from rdev.services.closing import Closing

log = logging.getLogger(__name__)

_UNSEEN_S = 2.0
_AT_ONCE = 100
_STALE_TICKET_S = 10.0
_DAY_S = 86400.0


class Sweep:
    """`every_s` is about how often it is called, so that what is done daily is spread over all
    sweeps of all replicas without anybody remembering the last time."""

    def __init__(
        self,
        transaction: Transactions,
        tickets: QueueTickets,
        workspaces: Workspaces,
        closing: Closing,
        *,
        every_s: float,
    ) -> None:
        self._transaction = transaction
        self._tickets = tickets
        self._workspaces = workspaces
        self._closing = closing
        self._daily_share = min(1.0, every_s / _DAY_S)

    def run(self) -> None:
        """One that fails keeps none of the others from being done."""
        for step in (self._see_off, self._renew_tickets, self._daily):
            self._attempt(step)

    def _see_off(self) -> None:
        with self._transaction() as tx:
            expired = tx.queue.expire_waiting()
            unseen = tx.queue.unannounced(older_than_s=_UNSEEN_S, limit=_AT_ONCE)
        for command in [*expired, *unseen]:
            self._attempt(partial(self._closing.see_off, command))

    def _renew_tickets(self) -> None:
        """Queued commands without a ticket get one: it wakes those who wait for tickets alone."""
        self._tickets.reclaim(idle_s=_STALE_TICKET_S)
        with self._transaction() as tx:
            waiting = tx.queue.oldest_waiting()
        for priority, command_id in waiting:
            self._tickets.restock(priority, command_id)

    def _daily(self) -> None:
        if random.random() < self._daily_share:  # noqa: S311 - a share, not a secret
            with self._transaction() as tx:
                tx.queue.forget_requests()
            self._workspaces.prune()

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except RdevError as exc:
            log.warning("left to the next sweep: %s", exc)
        except Exception:
            log.exception("left to the next sweep")
