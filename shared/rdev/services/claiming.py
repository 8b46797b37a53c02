"""Which command a runner takes next: what another runner has left, or what waits."""

import logging
import random
from collections.abc import Sequence
from datetime import UTC, datetime

from rdev.domain.commands import Claim, Priority
from rdev.errors import StoreUnavailable
from rdev.failpoints import reach
from rdev.ports import Transaction, Transactions, metrics

log = logging.getLogger(__name__)

_OVERDUE_S = 30.0
_OVERDUE_SHARE = 0.2


class Claiming:
    """Claims for the runner of this name. `boot_id`: of the machine on which all workspaces are,
    should they be on one."""

    def __init__(
        self,
        runner: str,
        transaction: Transactions,
        *,
        lease_s: float,
        max_concurrent: int,
        boot_id: str | None = None,
    ) -> None:
        self._boot_id = boot_id
        self._runner = runner
        self._transaction = transaction
        self._lease_s = lease_s
        self._max_concurrent = max_concurrent

    def next(self, *, leases_first: bool) -> tuple[Claim | None, bool]:
        """What to see through, and whether nothing that another runner has left was there.
        `leases_first`: there may be some of that; it fills places under the keys' limits."""
        reach("claim.before")
        claim, none_left, taken_over = None, False, True
        try:
            with self._transaction(reading=True) as tx:
                # Every other look finds nothing: then it has cost one statement.
                order, left = tx.queue.look(lease_s=self._lease_s)
            if not order and not left:
                return None, leases_first
            with self._transaction() as tx:
                if leases_first:
                    claim = self._take_over(tx) if left else None
                    none_left = claim is None
                if claim is None and (claim := self._waiting(tx, order)):
                    taken_over = False
                if claim is None and left and not none_left:
                    claim = self._take_over(tx)
        except StoreUnavailable as exc:
            log.warning("cannot claim: %s", exc)
            return None, none_left
        except Exception:
            # Such as a row that a newer version wrote. What runs must not suffer from it.
            log.exception("cannot claim")
            return None, none_left
        if claim is not None:
            reach("claim.after")
            self._count(claim, taken_over=taken_over)
        return claim, none_left

    def _count(self, claim: Claim, *, taken_over: bool) -> None:
        if taken_over:
            if not claim.handed_over:
                metrics.LEASES_TAKEN_OVER.add()
            return
        priority = claim.command.priority.value
        waited = datetime.now(UTC) - claim.command.queued_at
        metrics.QUEUE_CLAIMS.add(priority)
        metrics.QUEUE_WAIT.record(waited.total_seconds(), priority)

    def _waiting(self, tx: Transaction, order: Sequence[Priority]) -> Claim | None:
        if order and random.random() < _OVERDUE_SHARE:  # noqa: S311 - a share, not a secret
            # One claim in five serves what has waited long, so nothing starves.
            order = [*tx.queue.overdue(_OVERDUE_S), *order]
        for priority in order:
            claim = tx.queue.claim(
                priority,
                runner=self._runner,
                lease_s=self._lease_s,
                max_concurrent=self._max_concurrent,
                boot_id=self._boot_id,
            )
            if claim is not None:
                return claim
        return None

    def _take_over(self, tx: Transaction) -> Claim | None:
        claims = tx.queue.take_over(
            runner=self._runner, lease_s=self._lease_s, limit=1, boot_id=self._boot_id
        )
        if not claims:
            return None
        log.info("taking over %s", claims[0].command.id)
        return claims[0]
