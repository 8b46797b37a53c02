"""How late a good receiver's events arrive, alone and beside receivers that misbehave.

The same events go to all of them, through the whole service: outbox, claims, the resident sender
with its 20 threads, the record. Each is an endpoint like any other, with the usual limit. An
attempt is over after 3 s instead of 15, so that a run sees several of the hanging ones out.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

from bench.outbox import opened_outbox, opened_sender
from bench.rows import Row, in_turn
from bench.sink import Sink, sink
from integration import webhook_receiver as receivers

EVENTS = 600
EVERY_S = 0.01
PERCENTILE = 0.99
TIMEOUT_S = 3.0
PATIENCE_S = 120.0
BAD = {
    "silent": receivers.silent,
    "deaf": receivers.deaf,
    "dripping": receivers.DRIPPING_HEADERS,
    "hanging up": receivers.hanging_up("after the request"),
    "failing": receivers.answering(500),
}


def rows() -> Iterator[Row]:
    alone, beside = in_turn(lambda: lateness_ms({}), lambda: lateness_ms(BAD))
    what = f"webhooks: p99 of a good receiver, alone and beside {len(BAD)} bad ones"
    yield Row(what, alone, beside, "ms", goal=2, at_most=True)


def lateness_ms(bad: Mapping[str, receivers.Behaviour]) -> float:
    """The 99th percentile of the time from an event's making to its arrival at the good one."""
    with ExitStack() as stack:
        good = stack.enter_context(sink())
        sender = stack.enter_context(opened_sender(TIMEOUT_S))
        box = stack.enter_context(opened_outbox(sender))
        box.endpoint(good.url)
        for behaviour in bad.values():
            box.endpoint(stack.enter_context(receivers.receiver(behaviour)).url)
        stack.enter_context(box.delivering())
        for _ in range(EVENTS):
            box.tell({"sent_ns": time.monotonic_ns()})
            time.sleep(EVERY_S)
        late_ms = sorted(_arrived(good))
    return late_ms[int(EVENTS * PERCENTILE)]


def _arrived(good: Sink) -> list[float]:
    late_ms: list[float] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(late_ms) < EVENTS:
        late_ms += good.taken()["late_ms"]
        assert time.monotonic() < deadline, f"{len(late_ms)} of {EVENTS} events arrived"
        time.sleep(0.05)
    return late_ms
