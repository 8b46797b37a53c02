"""Webhook endpoints: who is told of what. Sending is `deliveries`', what was sent `delivery_log`'s.

A key bound to projects sees the endpoints that are bound to no others, and makes only such."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from rdev.domain.callers import Caller
from rdev.domain.ids import new_id
from rdev.domain.keys import Key
from rdev.domain.webhooks import TEST, Disabled, Endpoint, Health, Secret, known
from rdev.errors import Conflict, Forbidden, Hidden, InvalidRequest, NotFound
from rdev.ports import Transaction, Transactions
from rdev.services import facts
from rdev.services.signing import checked_secret, new_secret

_RECOVERED_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class EndpointWish:
    """What a caller asks of an endpoint. None: as it was, or the default for a new one."""

    url: str | None = None
    events: tuple[str, ...] | None = None
    projects: tuple[str, ...] | None = None
    description: str | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    max_concurrent: int | None = None
    paused: bool | None = None
    enabled: bool | None = None

    def over(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint with what was asked for in place of what was."""
        names = ("url", "events", "projects", "description", "headers", "max_concurrent", "paused")
        asked = {name: getattr(self, name) for name in names}
        return replace(endpoint, **{k: v for k, v in asked.items() if v is not None})


class Webhooks:
    def __init__(
        self,
        transaction: Transactions,
        *,
        refusal: Callable[[str], str | None],
        max_concurrent: int,
        now: Callable[[], datetime],
    ) -> None:
        """`refusal` says why a URL can never be sent to; `max_concurrent` is an endpoint's where
        it has none of its own."""
        self._transaction = transaction
        self._refusal = refusal
        self._max_concurrent = max_concurrent
        self._now = now

    def create(
        self, by: Caller, wish: EndpointWish, *, secret: str | None = None
    ) -> tuple[Endpoint, str]:
        """A new endpoint and its secret, which is never shown again."""
        secret = new_secret() if secret is None else checked_secret(secret)
        made = Endpoint(
            id=new_id("wh"),
            url="",
            events=("*",),
            created_at=self._now(),
            created_by=by.key.id,
            max_concurrent=self._max_concurrent,
        )
        endpoint = wish.over(made)
        self._check(by, endpoint)
        with self._transaction() as tx:
            tx.endpoints.insert(endpoint, secret)
            facts.endpoint_created(tx, by, endpoint)
        return endpoint, secret

    def list(self, by: Caller, *, before: str | None, limit: int) -> Sequence[Endpoint]:
        with self._transaction(reading=True) as tx:
            return tx.endpoints.list(within=within(by.key), before=before, limit=limit)

    def get(self, by: Caller, endpoint_id: str) -> tuple[Endpoint, Sequence[Secret]]:
        """The endpoint, and the secrets it is signed with: their times are no secret."""
        with self._transaction() as tx:
            return seen(tx, by, endpoint_id), tx.endpoints.secrets(endpoint_id)

    def update(self, by: Caller, endpoint_id: str, wish: EndpointWish) -> Endpoint:
        """Change what is asked for and leave the rest. Whoever resumes, enables or moves an
        endpoint has it tried at once, also where its circuit breaker was open."""
        with self._transaction() as tx:
            before = seen(tx, by, endpoint_id, lock=True)
            after = wish.over(before)
            self._check(by, after)
            resumed = before.paused and not after.paused
            if wish.enabled is not None:
                after = replace(after, health=self._enabled(after.health, wish.enabled))
            if resumed or after.url != before.url:
                after = replace(after, health=replace(after.health, blocked_until=None))
            tx.endpoints.update(after)
            facts.endpoint_changed(tx, by, after)
            tx.outbox.notice()
        return after

    def delete(self, by: Caller, endpoint_id: str) -> None:
        """Send it nothing more, and forget what was sent."""
        with self._transaction() as tx:
            endpoint = seen(tx, by, endpoint_id, lock=True)
            tx.endpoints.delete(endpoint_id)
            facts.endpoint_deleted(tx, by, endpoint)

    def rotate(
        self, by: Caller, endpoint_id: str, *, secret: str | None, overlap_s: float
    ) -> tuple[Endpoint, str]:
        """A new secret. For `overlap_s` requests carry the signatures of both."""
        secret = new_secret() if secret is None else checked_secret(secret)
        with self._transaction() as tx:
            endpoint = seen(tx, by, endpoint_id, lock=True)
            current = [each.value for each in tx.endpoints.secrets(endpoint_id)]
            if secret in current:
                raise InvalidRequest.field("secret", "is in use already; give a new one")
            tx.endpoints.rotate(endpoint_id, secret, overlap_s=overlap_s)
            facts.endpoint_rotated(tx, by, endpoint)
        return endpoint, secret

    def test(self, by: Caller, endpoint_id: str) -> str:
        """Send it a `test` event now, whatever it takes: the delivery's id."""
        with self._transaction() as tx:
            endpoint = able(seen(tx, by, endpoint_id, lock=True))
            unblock(tx, endpoint)
            data = {"endpoint": endpoint.id, "text": "It works.", "nonce": str(uuid.uuid4())}
            delivery_id = tx.outbox.add_for(endpoint.id, TEST, data)
            facts.endpoint_tested(tx, by, endpoint, delivery_id)
        return delivery_id

    def recover(self, by: Caller, endpoint_id: str, since: datetime) -> int:
        """Deliver what it was never told of since then: what was exhausted, and what happened
        while it was disabled. How many deliveries that is."""
        after, recovered = "", 0
        while True:
            with self._transaction() as tx:
                endpoint = able(seen(tx, by, endpoint_id, lock=True))
                unblock(tx, endpoint)
                last = tx.outbox.recover(
                    endpoint.id, since=since, after=after, limit=_RECOVERED_AT_ONCE
                )
                recovered += tx.outbox.recovered
                if tx.outbox.recovered:
                    facts.endpoint_recovered(tx, by, endpoint, tx.outbox.recovered)
            if last is None:
                return recovered
            after = last

    def _check(self, by: Caller, endpoint: Endpoint) -> None:
        reason = self._refusal(endpoint.url)
        if reason is not None:
            raise InvalidRequest.field("url", reason)
        for glob in endpoint.events:
            if not known(glob):
                raise InvalidRequest.field("events", f"{glob!r} stands for no type of event")
        if not by.key.oversees(endpoint.projects):
            raise Forbidden(
                "This key is bound to projects: an endpoint of its making names them in "
                "`projects`, and no others."
            )

    def _enabled(self, health: Health, wanted: bool) -> Health:
        if wanted:
            return Health(last_success_at=health.last_success_at)
        if health.disabled_at is not None:
            return health
        return replace(health, disabled_at=self._now(), disabled_reason=Disabled.BY_HAND)


def within(key: Key) -> Sequence[str] | None:
    """The project globs that the key holds; None: every project."""
    return None if key.sees_every_project() else key.projects


def seen(tx: Transaction, by: Caller, endpoint_id: str, *, lock: bool = False) -> Endpoint:
    """Raises NotFound also for an endpoint that the key may not see."""
    endpoint = tx.endpoints.get(endpoint_id, lock=lock)
    message = f"Webhook endpoint not found: {endpoint_id}"
    if endpoint is None:
        raise NotFound(message)
    if not by.key.oversees(endpoint.projects):
        raise Hidden(message)
    return endpoint


def able(endpoint: Endpoint) -> Endpoint:
    """Raises Conflict where it is disabled."""
    if not endpoint.enabled:
        raise Conflict(
            f"{endpoint.id} is disabled ({endpoint.health.disabled_reason}). "
            "PATCH it with `enabled: true` first."
        )
    return endpoint


def unblock(tx: Transaction, endpoint: Endpoint) -> None:
    """Have it tried now: somebody asked for it."""
    if endpoint.health.blocked_until is not None:
        tx.endpoints.fare({endpoint.id: replace(endpoint.health, blocked_until=None)})
