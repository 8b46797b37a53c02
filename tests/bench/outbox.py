"""A real outbox on a real Postgres: endpoints, events for them, and what delivers those."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg

from bench.stores import postgres
from rdev.adapters.postgres.database import Database
from rdev.adapters.webhooks.guard import Guard
from rdev.adapters.webhooks.sender import WebhookSender
from rdev.domain.callers import rdev_itself
from rdev.services.deliveries import Deliveries, SendingRules
from rdev.services.webhooks import EndpointWish, Webhooks

_DRAIN_S = 600.0
_USUAL_LIMIT = 4


def now() -> datetime:
    return datetime.now(UTC)


class Outbox:
    def __init__(self, url: str, sender: WebhookSender) -> None:
        self._resident: Deliveries | None = None
        self._sender = sender
        self._sql = psycopg.connect(url, autocommit=True)
        self._database = Database(url, pool_size=8, timeout_s=30, on_delivery=self._nudge)
        self._webhooks = Webhooks(
            self._database.transaction,
            refusal=sender.refusal,
            max_concurrent=_USUAL_LIMIT,
            now=now,
        )

    def endpoint(self, url: str, *, max_concurrent: int | None = None) -> None:
        """An endpoint that is told of everything."""
        wish = EndpointWish(url=url, events=("*",), max_concurrent=max_concurrent)
        self._webhooks.create(rdev_itself("bench"), wish)

    def tell(self, data: Mapping[str, Any], *, times: int = 1) -> None:
        """So many events, in one transaction."""
        with self._database.transaction() as tx:
            for _ in range(times):
                tx.outbox.add("key.created", data)

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._sql.execute(query, values).fetchall()  # type: ignore[arg-type] # ours

    def drain(self) -> None:
        """Deliver what is due, as the function does when it is woken."""
        left = self._deliveries().drain(_DRAIN_S)
        assert not left, "not all was delivered"

    @contextmanager
    def delivering(self) -> Iterator[None]:
        """Deliver what comes up meanwhile, as the resident sender does."""
        self._resident = self._deliveries()
        thread = threading.Thread(target=self._resident.run)
        thread.start()
        try:
            yield
        finally:
            self._resident.stop()
            thread.join()
            self._resident = None

    def close(self) -> None:
        self._sql.close()
        self._database.close()

    def _deliveries(self) -> Deliveries:
        return Deliveries(self._database.transaction, self._sender, SendingRules(), now=now)

    def _nudge(self) -> None:
        if self._resident:
            self._resident.nudge()


@contextmanager
def opened_outbox(sender: WebhookSender) -> Iterator[Outbox]:
    with postgres() as url:
        box = Outbox(url, sender)
        try:
            yield box
        finally:
            box.close()


@contextmanager
def opened_sender(timeout_s: float = 15.0) -> Iterator[WebhookSender]:
    sender = WebhookSender(Guard(["127.0.0.0/8"], allow_http=True), timeout_s=timeout_s)
    try:
        yield sender
    finally:
        sender.close()
