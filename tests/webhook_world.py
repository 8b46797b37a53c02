"""A database, endpoints in it, and resident senders over it: for tests of webhooks."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg

from loopback_receiver import Answer, Got, Receiver, receiving
from rdev.adapters.postgres.database import Database
from rdev.adapters.webhooks.guard import Guard
from rdev.adapters.webhooks.sender import WebhookSender
from rdev.domain.callers import rdev_itself
from rdev.domain.delivering import DeliveryRules
from rdev.domain.webhooks import Delivery, Endpoint, State
from rdev.services.deliveries import Deliveries, SendingRules
from rdev.services.delivery_log import DeliveryLog
from rdev.services.webhooks import EndpointWish, Webhooks

QUICK = DeliveryRules(schedule_s=(0.0, 0.05, 0.05), breaker_failures=100)
ANYWHERE = EndpointWish(url="https://example.com/")
BY = rdev_itself("tests")


def now() -> datetime:
    return datetime.now(UTC)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


class World:
    def __init__(self, database_url: str, stack: ExitStack) -> None:
        self.database_url = database_url
        self.database = Database(database_url, pool_size=10, timeout_s=10)
        stack.callback(self.database.close)
        self.sender = WebhookSender(Guard(["127.0.0.0/8"], allow_http=True))
        stack.callback(self.sender.close)
        self.webhooks = Webhooks(
            self.database.transaction, refusal=self.sender.refusal, max_concurrent=4, now=now
        )
        self.log = DeliveryLog(self.database.transaction)
        self._stack = stack
        self._running: list[tuple[Deliveries, threading.Thread]] = []

    def receiver(self, answer: Callable[[Got], Answer] | None = None) -> Receiver:
        return self._stack.enter_context(receiving(answer))

    def start(self, rules: DeliveryRules = QUICK, **more: Any) -> Deliveries:
        """A resident sender; `end` ends it."""
        asked = {"lease_s": 10.0, "sweep_s": 0.2, **more}
        made = Deliveries(
            self.database.transaction, self.sender, SendingRules(rules=rules, **asked), now=now
        )
        thread = threading.Thread(target=made.run)
        thread.start()
        self._running.append((made, thread))
        return made

    def end(self) -> None:
        for deliveries, _ in self._running:
            deliveries.stop()
        for _, thread in self._running:
            thread.join(30)
            assert not thread.is_alive()

    def tell(self, count: int = 1, kind: str = "key.created") -> None:
        for number in range(count):
            with self.database.transaction() as tx:
                tx.outbox.add(kind, {"number": number})

    def ended(self, endpoint: Endpoint) -> list[Delivery]:
        """The endpoint's deliveries that have come to an end, once there is one."""
        done: list[Delivery] = []

        def look() -> bool:
            found = self.log.list(BY, before=None, limit=1000, endpoint_id=endpoint.id)
            done[:] = [each for each in found if each.state is not State.PENDING]
            return bool(done)

        until(look)
        return done

    def ask(self, query: str) -> Any:
        """The first value that a query gives."""
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute(query).fetchone()  # type: ignore[arg-type] # a constant
            return row[0] if row else None


@contextmanager
def webhook_world(database_url: str) -> Iterator[World]:
    with ExitStack() as stack:
        world = World(database_url, stack)
        stack.callback(world.end)
        yield world
