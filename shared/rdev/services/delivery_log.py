"""What was sent and what became of it: deliveries, their attempts, and sending one again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rdev.domain.callers import Caller
from rdev.domain.webhooks import Attempt, Delivery, State
from rdev.errors import NotFound
from rdev.ports import Transaction, Transactions
from rdev.services import facts
from rdev.services.webhooks import able, seen, unblock, within


@dataclass(frozen=True, slots=True)
class FullDelivery:
    """A delivery with its attempts and the body that they sent."""

    delivery: Delivery
    attempts: Sequence[Attempt]
    body: bytes


class DeliveryLog:
    def __init__(self, transaction: Transactions) -> None:
        self._transaction = transaction

    def list(
        self,
        by: Caller,
        *,
        before: str | None,
        limit: int,
        endpoint_id: str | None = None,
        state: State | None = None,
        type: str | None = None,  # noqa: A002 - the event's type
        since: datetime | None = None,
    ) -> Sequence[Delivery]:
        """Newest first. Raises NotFound where the endpoint is not one that the key may see."""
        with self._transaction() as tx:
            if endpoint_id is not None:
                seen(tx, by, endpoint_id)
            return tx.delivery_records.list(
                within=within(by.key),
                before=before,
                limit=limit,
                endpoint_id=endpoint_id,
                state=state,
                type=type,
                since=since,
            )

    def get(self, by: Caller, delivery_id: str) -> FullDelivery:
        with self._transaction() as tx:
            delivery = _seen(tx, by, delivery_id)
            return FullDelivery(
                delivery,
                tx.delivery_records.attempts(delivery_id),
                tx.delivery_records.body(delivery.event_id) or b"{}",
            )

    def redeliver(self, by: Caller, delivery_id: str) -> Delivery:
        """Send it now, whatever became of it, under the same webhook-id. One that is being sent
        is left to that. Raises Conflict where its endpoint is disabled."""
        with self._transaction() as tx:
            delivery = _seen(tx, by, delivery_id)
            unblock(tx, able(seen(tx, by, delivery.endpoint_id, lock=True)))
            tx.delivery_records.again(delivery_id)
            facts.delivery_repeated(tx, by, delivery)
            tx.outbox.notice()
            return _seen(tx, by, delivery_id)


def _seen(tx: Transaction, by: Caller, delivery_id: str) -> Delivery:
    delivery = tx.delivery_records.get(delivery_id)
    message = f"Delivery not found: {delivery_id}"
    if delivery is None:
        raise NotFound(message)
    try:
        seen(tx, by, delivery.endpoint_id)
    except NotFound as exc:
        raise type(exc)(message) from None
    return delivery
