"""Deliveries: claims what is due, has it sent, records each attempt and plans the next.

Any number of processes may do so at once. One thread here speaks with the store, in batches; the
`senders` speak with the world. It keeps nothing that another would miss: what a killed one held is
claimed again when its lease is over, so every event arrives at least once."""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from rdev.domain.delivering import DeliveryRules, health_after, plan
from rdev.domain.webhooks import Health, State
from rdev.errors import RdevError, Unavailable
from rdev.failpoints import reach
from rdev.ports import Bell, Transaction, Transactions, WebhookSender, metrics
from rdev.services import facts
from rdev.services.senders import Made, Senders

log = logging.getLogger(__name__)

_LOOK_S = 0.5
LINGER_S = 0.3
"""For how long one who found work looks again: who announces it does so now and then only."""
_PAUSE_S = 0.5
_LEAVING_S = 1.0
_BELL_S = 1.0
_DAY_S = 86400.0
_CUT_AT_ONCE = 1000
_NOTED_S = 5.0
"""A success is written down in its endpoint's row this often at most."""


@dataclass(frozen=True, slots=True)
class SendingRules:
    at_once: int = 20
    lease_s: float = 10.0
    renew_s: float = 3.0
    sweep_s: float = 5.0
    retention_days: float = 30.0
    rules: DeliveryRules = field(default_factory=DeliveryRules)


class Deliveries:
    """`run()` blocks until `stop()`; `drain(for_s)` until nothing is due or the time is over."""

    def __init__(
        self,
        transaction: Transactions,
        sender: WebhookSender,
        rules: SendingRules,
        *,
        now: Callable[[], datetime],
        bell: Bell | None = None,
    ) -> None:
        self._transaction = transaction
        self._rules = rules
        self._now = now
        self._bell = bell
        self._senders = Senders(sender, rules.at_once, now)
        self._stopping = threading.Event()
        self._rung = threading.Event()
        self._made: list[Made] = []
        self._renew_at = self._rebase_at = 0.0
        self.stopped = threading.Event()

    # --- as a resident process, or inside a request ----------------------------------------------

    def run(self) -> None:
        """Serve until `stop()`. What is on its way then gets a moment to end."""
        self._senders.start()
        if self._bell is not None:
            threading.Thread(target=self._hear, name="deliveries-bell", daemon=True).start()
        sweep_at = time.monotonic()
        while not self._stopping.is_set():
            try:
                if self._work(float("inf")):
                    self._await_ring(LINGER_S)
                    continue
                if time.monotonic() >= sweep_at:
                    self._cut()
                    sweep_at = time.monotonic() + self._rules.sweep_s
                self._await_ring(self._idle_s(sweep_at))
            except Exception as exc:  # noqa: BLE001 - a loop that ended would not be missed
                self._pause(exc)
        self._leave()

    def drain(self, for_s: float) -> bool:
        """Work inside a request: until nothing is due, or the time is over and what was being
        sent has come back. Whether something is due that was left."""
        until = time.monotonic() + for_s
        self._senders.start()
        try:
            while self._work(until) and time.monotonic() < until:
                self._await_ring(LINGER_S)
            self._cut()
        finally:
            self._leave()
        with self._transaction() as tx:
            next_s = tx.deliveries.next_due_s()
        return next_s is not None and next_s <= 0

    def nudge(self) -> None:
        """Look now: something is due."""
        self._rung.set()
        self._senders.nudge()

    def stop(self) -> None:
        self._stopping.set()
        self.nudge()

    # --- claim, record, renew --------------------------------------------------------------------

    def _work(self, until: float) -> bool:
        """Until nothing is due and nothing on its way. Whether there was anything."""
        found = False
        while True:
            self._rung.clear()
            self._record()
            self._renew()
            self._rebase()
            claimed = self._claim() if self._may_claim(until) else 0
            found = found or claimed > 0
            if not claimed and not self._made and not self._senders.held():
                return found
            if self._stopping.is_set():
                return found
            self._senders.wait(_LOOK_S)

    def _may_claim(self, until: float) -> bool:
        return not self._stopping.is_set() and time.monotonic() < until

    def _claim(self) -> int:
        held = self._senders.held()
        # Some more than can be sent at once, so that no sender waits for the store.
        room = 2 * self._rules.at_once - len(held)
        if room <= self._rules.at_once // 4:
            return 0
        struggling = sum(_struggles(claim.endpoint.health) for claim in held)
        good_until = time.monotonic() + self._rules.lease_s
        with self._transaction() as tx:
            claims = tx.deliveries.claim(
                limit=room,
                struggling=max(0, self._rules.at_once // 2 - struggling),
                lease_s=self._rules.lease_s,
            )
        reach("delivery.claimed")
        if claims:
            self._senders.put(claims, good_until)
        return len(claims)

    def _record(self) -> None:
        """In one transaction: the attempts, what follows for their deliveries and endpoints."""
        self._made += self._senders.finished()
        if not self._made:
            return
        try:
            with self._transaction() as tx:
                reach("delivery.recording")
                states = self._judge(tx, self._made)
            for state in states:  # committed
                metrics.WEBHOOK_DELIVERIES.add(state.value)
        except Unavailable:
            raise  # kept, and written down once the store is back
        except Exception:
            # One that cannot be written down must not hold up all others for good: these are sent
            # again when their leases are over.
            log.exception("%d attempts could not be recorded", len(self._made))
        self._made = []
        reach("delivery.recorded")

    def _judge(self, tx: Transaction, made: list[Made]) -> list[State]:
        """The states of those that came to an end."""
        ids = {claim.endpoint.id for claim, _ in made}
        endpoints = {each.id: each for each in tx.endpoints.lock_all(ids)}
        rules, rows, now = self._rules.rules, [], self._now()
        healths = {id_: endpoint.health for id_, endpoint in endpoints.items()}
        for claim, attempt in made:
            assert attempt.outcome is not None
            chance = random.random()  # noqa: S311 - jitter
            rows.append((claim, attempt, plan(rules, attempt.outcome, claim.step, chance)))
            if health := healths.get(claim.endpoint.id):
                after = health_after(rules, health, attempt.outcome, now, chance)
                healths[claim.endpoint.id] = after
        ours = tx.deliveries.record(rows)
        for claim, _ in made:
            if claim.delivery_id not in ours:
                log.info("%s belongs to another sender by now", claim.delivery_id)
        changed = {
            id_: health for id_, health in healths.items() if _worth(endpoints[id_].health, health)
        }
        if changed:
            tx.endpoints.fare(changed)
        for id_, health in changed.items():
            if health.disabled_at is not None and endpoints[id_].enabled:
                self._disabled(tx, id_, health)
        states = [follows.state for claim, _, follows in rows if claim.delivery_id in ours]
        return [state for state in states if state is not State.PENDING]

    def _disabled(self, tx: Transaction, endpoint_id: str, health: Health) -> None:
        log.warning("%s is disabled: %s", endpoint_id, health.disabled_reason)
        endpoint = tx.endpoints.get(endpoint_id)
        if endpoint is not None:
            facts.endpoint_disabled(tx, endpoint)

    def _renew(self) -> None:
        if time.monotonic() < self._renew_at:
            return
        held = [(claim.delivery_id, claim.epoch) for claim in self._senders.held()]
        good_until = time.monotonic() + self._rules.lease_s
        if held:
            with self._transaction() as tx:
                ours = tx.deliveries.renew(held, lease_s=self._rules.lease_s)
            self._senders.renewed(ours, good_until)
        self._renew_at = time.monotonic() + self._rules.renew_s

    def _rebase(self) -> None:
        if time.monotonic() < self._rebase_at:
            return
        with self._transaction() as tx:
            tx.deliveries.rebase()
        self._rebase_at = time.monotonic() + self._rules.sweep_s

    # --- between and after -----------------------------------------------------------------------

    def _idle_s(self, sweep_at: float) -> float:
        with self._transaction() as tx:
            next_s = tx.deliveries.next_due_s()
        idle_s = max(0.01, sweep_at - time.monotonic())
        return idle_s if next_s is None else min(idle_s, max(0.02, next_s))

    def _await_ring(self, timeout_s: float) -> None:
        self._rung.wait(timeout_s)

    def _cut(self) -> None:
        """Remove what was kept for long enough."""
        if not self._rules.retention_days:
            return
        older_than_s = self._rules.retention_days * _DAY_S
        with self._transaction() as tx:
            tx.outbox.cut(older_than_s=older_than_s, limit=_CUT_AT_ONCE)

    def _hear(self) -> None:
        assert self._bell is not None
        after = "$"
        while not self._stopping.is_set():
            try:
                heard = self._bell.wait(after, _BELL_S)
                if heard != after:
                    self.nudge()
                after = heard
            except Unavailable as exc:
                log.warning("no bell, what is due is looked for: %s", exc)
                self._stopping.wait(_BELL_S)

    def _pause(self, exc: Exception) -> None:
        if isinstance(exc, RdevError):
            log.warning("deliveries wait: %s", exc)
        else:
            log.error("deliveries wait", exc_info=exc)
        self._stopping.wait(_PAUSE_S)

    def _leave(self) -> None:
        """Give back what was not begun; what is being sent gets a moment, then its lease ends."""
        unbegun = self._senders.stop()
        until = time.monotonic() + _LEAVING_S
        try:
            if unbegun:
                with self._transaction() as tx:
                    tx.deliveries.release(unbegun)
            while self._senders.held() and time.monotonic() < until:
                self._senders.wait(until - time.monotonic())
                self._record()
            self._record()
        except Unavailable as exc:
            log.warning("left to the leases' end: %s", exc)
        self.stopped.set()


def _struggles(health: Health) -> bool:
    return health.failures > 0 or health.slow


def _worth(before: Health, after: Health) -> bool:
    """Whether the change is worth a write: of many successes not each."""
    if before.last_success_at is None or after.last_success_at is None:
        return before != after
    same = (before.failures, before.slow, before.blocked_until, before.disabled_at)
    if same != (after.failures, after.slow, after.blocked_until, after.disabled_at):
        return True
    return (after.last_success_at - before.last_success_at).total_seconds() > _NOTED_S
