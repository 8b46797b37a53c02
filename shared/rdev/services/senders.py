"""The threads that send claimed deliveries, and what each of them holds. No store in here."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from rdev.domain.attempts import Outcome
from rdev.domain.delivering import verdict
from rdev.domain.webhooks import Attempt, Claim
from rdev.failpoints import reach
from rdev.ports import WebhookSender, metrics, tracing
from rdev.services.signing import request_of, shown_headers

log = logging.getLogger(__name__)

_GATHER_S = 0.004
_CLIENT_ERROR = 400


@dataclass(slots=True)
class _Held:
    claim: Claim
    good_until: float
    """By the monotonic clock: after this another sender may have it."""
    begun: bool = False


Made = tuple[Claim, Attempt]


class Senders:
    """`count` threads, from `start()` to `stop()`. Claims go in, attempts come out."""

    def __init__(self, sender: WebhookSender, count: int, now: Callable[[], datetime]) -> None:
        self._sender = sender
        self._count = count
        self._now = now
        self._lock = threading.Lock()
        # Apart: who came back must not wake all the others.
        self._to_send = threading.Condition(self._lock)
        self._came_out = threading.Condition(self._lock)
        self._waiting: deque[_Held] = deque()
        self._held: dict[str, _Held] = {}
        self._made: list[Made] = []
        self._stopped = True
        self._nudged = False
        self._enough = 1

    def start(self) -> None:
        with self._lock:
            self._stopped = False
        for number in range(self._count):
            name = f"sender-{number}"
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def stop(self) -> list[tuple[str, int]]:
        """Begin nothing more. The deliveries, with their epochs, that were not begun."""
        with self._lock:
            self._stopped = True
            left = [held.claim for held in self._waiting]
            self._waiting.clear()
            for claim in left:
                del self._held[claim.delivery_id]
            self._to_send.notify_all()
        return [(claim.delivery_id, claim.epoch) for claim in left]

    def put(self, claims: Sequence[Claim], good_until: float) -> None:
        with self._lock:
            for claim in claims:
                held = _Held(claim, good_until)
                self._held[claim.delivery_id] = held
                self._waiting.append(held)
            self._to_send.notify(len(claims))

    def finished(self) -> list[Made]:
        """The attempts that came out since the last call."""
        with self._lock:
            made, self._made = self._made, []
            return made

    def wait(self, timeout_s: float) -> None:
        """Until an attempt came out, somebody nudged, or the timeout. Then for a moment longer,
        so that one transaction writes down what comes out together."""
        with self._lock:
            if not self._made and not self._nudged:
                self._came_out.wait(timeout_s)
            enough = min(self._count, len(self._held)) // 2
            if not self._nudged and len(self._made) < enough:
                self._enough = enough
                self._came_out.wait(_GATHER_S)
            self._enough = 1
            self._nudged = False

    def nudge(self) -> None:
        with self._lock:
            self._nudged = True
            self._came_out.notify()

    def held(self) -> list[Claim]:
        """What was claimed and has not come out."""
        with self._lock:
            return [held.claim for held in self._held.values()]

    def renewed(self, delivery_ids: Collection[str], good_until: float) -> None:
        with self._lock:
            for delivery_id in delivery_ids:
                if delivery_id in self._held:
                    self._held[delivery_id].good_until = good_until

    def _work(self) -> None:
        while (held := self._next()) is not None:
            attempt = self._attempt(held.claim)
            with self._lock:
                if self._held.get(held.claim.delivery_id) is held:
                    del self._held[held.claim.delivery_id]
                self._made.append((held.claim, attempt))
                if len(self._made) >= self._enough:
                    self._came_out.notify()

    def _next(self) -> _Held | None:
        with self._lock:
            while not self._stopped:
                while self._waiting:
                    held = self._waiting.popleft()
                    if time.monotonic() < held.good_until:
                        held.begun = True
                        return held
                    # This process was asleep: the lease is over, so somebody else sends it.
                    self._held.pop(held.claim.delivery_id, None)
                self._to_send.wait()
        return None

    def _attempt(self, claim: Claim) -> Attempt:
        at = self._now()
        try:
            with _span(claim) as span:
                outgoing = request_of(claim, at, tracing.context())
                reach("delivery.signed")
                outcome = self._sender.send(outgoing)
                reach("delivery.sent")
                _tell(span, outcome)
            shown = shown_headers(outgoing, claim.endpoint.headers)
        except Exception:
            log.exception("%s could not be sent; it is tried again", claim.delivery_id)
            outcome, shown = _broken(), {}
        said = verdict(outcome).value
        metrics.WEBHOOK_ATTEMPTS.add(said)
        metrics.WEBHOOK_DURATION.record(outcome.duration_ms / 1000, said)
        return Attempt(claim.number, claim.trigger, claim.endpoint.url, at, outcome, shown)


def _span(claim: Claim) -> AbstractContextManager[tracing.Span]:
    if not tracing.on():
        return tracing.span("")
    # No more of the URL than its host: the rest may hold what lets one in.
    attributes: dict[str, tracing.Value] = {
        "http.request.method": "POST",
        "server.address": urlsplit(claim.endpoint.url).hostname or "",
        "http.request.resend_count": claim.number - 1,
        "rdev.delivery": claim.delivery_id,
        "rdev.endpoint": claim.endpoint.id,
        "messaging.message.id": claim.event_id,
    }
    made_in = claim.trace_context or ""
    return tracing.span("POST", attributes, kind="client", parent=made_in, link=made_in)


def _tell(span: tracing.Span, outcome: Outcome) -> None:
    if outcome.status is not None:
        span.set("http.response.status_code", outcome.status)
    if outcome.error or (outcome.status or 0) >= _CLIENT_ERROR:
        span.failed(outcome.error or str(outcome.status))


def _broken() -> Outcome:
    return Outcome(
        status=None,
        error="ours",
        message="rdev could not make the request; its log says why.",
        address=None,
        duration_ms=0,
        headers={},
        body=b"",
        retry_after_s=None,
        ours=True,
    )
