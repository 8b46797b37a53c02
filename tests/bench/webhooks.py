"""Deliveries a second: the sender alone, then the whole path, against bare keep-alive clients."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPConnection
from itertools import cycle

import urllib3

from bench.outbox import Outbox, now, opened_outbox, opened_sender
from bench.rows import Row, in_turn
from bench.sink import Sink, sink
from rdev.adapters.webhooks.sender import WebhookSender
from rdev.domain.attempts import Outgoing

AT_ONCE = 20
DELIVERIES = 4000
NO_CONTENT = 204
ENDPOINTS = 10
DATA = {"command_id": "cmd-0192", "project": "demo", "output": "line of output\n" * 40}
HEADERS = {
    "content-type": "application/json",
    "user-agent": "rdev/0",
    "webhook-id": "evt-019aaaaa-aaaa-7aaa-aaaa-aaaaaaaaaaaa",
    "webhook-timestamp": "1795500000",
    "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
}


def rows() -> Iterator[Row]:
    with sink() as to, opened_sender() as sender, opened_outbox(sender) as box:
        for _ in range(ENDPOINTS):
            box.endpoint(to.url, max_concurrent=AT_ONCE)
        bodies = sent_bodies(box)
        bare, fast, alone, whole = in_turn(
            lambda: rate(urllib3_loop(to, bodies)),
            lambda: rate(http_client_loop(to, bodies)),
            lambda: rate(sender_loop(to, bodies, sender)),
            lambda: delivery_rate(box),
        )
    yield Row(f"webhooks: HTTP alone against urllib3, {AT_ONCE} at once", bare, alone, "/s")
    yield Row(f"webhooks: HTTP alone against http.client, {AT_ONCE} at once", fast, alone, "/s")
    what = f"webhook deliveries, every attempt recorded, {AT_ONCE} at once"
    yield Row(what, bare, whole, "/s", goal=0.5)


def rate(make_send: Callable[[], Callable[[], int]]) -> float:
    """Requests a second by 20 threads, each with a `send` of its own that gives the status."""
    share = DELIVERIES // AT_ONCE
    wrong: list[int] = []

    def work() -> None:
        send = make_send()
        for _ in range(share):
            status = send()
            if status != NO_CONTENT:
                wrong.append(status)

    threads = [threading.Thread(target=work) for _ in range(AT_ONCE)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    assert not wrong, wrong[:3]
    return share * AT_ONCE / seconds


def urllib3_loop(to: Sink, bodies: Sequence[bytes]) -> Callable[[], Callable[[], int]]:
    pool = urllib3.PoolManager(maxsize=AT_ONCE, retries=False)

    def make_send() -> Callable[[], int]:
        ring = cycle(bodies)
        return lambda: pool.request("POST", to.url, body=next(ring), headers=HEADERS).status

    return make_send


def http_client_loop(to: Sink, bodies: Sequence[bytes]) -> Callable[[], Callable[[], int]]:
    def make_send() -> Callable[[], int]:
        connection, ring = HTTPConnection("127.0.0.1", to.port), cycle(bodies)

        def send() -> int:
            connection.request("POST", "/hook", next(ring), HEADERS)
            with connection.getresponse() as response:
                response.read()
                return response.status

        return send

    return make_send


def sender_loop(
    to: Sink, bodies: Sequence[bytes], sender: WebhookSender
) -> Callable[[], Callable[[], int]]:
    def make_send() -> Callable[[], int]:
        ring = cycle(bodies)
        return lambda: sender.send(Outgoing(to.url, HEADERS, next(ring))).status or 0

    return make_send


def sent_bodies(box: Outbox) -> list[bytes]:
    box.tell(DATA, times=20)
    box.drain()
    return [bytes(row[0]) for row in box.ask("select body from webhook_events limit 20")]


def delivery_rate(box: Outbox) -> float:
    """Deliveries a second, from the first claim to the last one's record."""
    box.tell(DATA, times=DELIVERIES // ENDPOINTS)
    began = now()
    box.drain()
    [(made, last)] = box.ask(
        "select count(*), max(finished_at) from webhook_deliveries"
        " where state = 'succeeded' and finished_at > %s",
        began,
    )
    assert made == DELIVERIES, f"{made} of {DELIVERIES} were delivered"
    return made / (last - began).total_seconds()
