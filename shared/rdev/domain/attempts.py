"""One attempt to deliver a webhook: what is sent, and what became of it. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One HTTP request, ready to go: signed, with every header that the receiver is to see."""

    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt.

    `status` is None when no answer was had; `error` is None when one was, and otherwise one of
    dns, blocked_address, connect_timeout, connection_refused, tls, timeout, hung_up,
    bad_response, not_allowed_url, ours.
    """

    status: int | None
    error: str | None
    message: str  # for people, never with secrets
    address: str | None  # the address connected to
    duration_ms: int
    headers: Mapping[str, str]  # the response's, bounded in number and size
    body: bytes  # the response's first 20 kB
    retry_after_s: float | None  # from Retry-After (seconds or HTTP date), at most a day
    ours: bool = False  # rdev's own infrastructure failed: not charged to the endpoint
