"""Calls the senders after a commit that left something to deliver: at most so often, since whoever
was called looks again for a while."""

import logging
import time
from collections.abc import Callable

from rdev.errors import Unavailable
from rdev.services.deliveries import LINGER_S

log = logging.getLogger(__name__)

_EVERY_S = LINGER_S / 3


class Calling:
    """`calls` are ways to reach a sender; each may fail, which costs the time to the next look."""

    def __init__(self, *calls: Callable[[], None]) -> None:
        self._calls = calls
        self._next = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY_S
        for call in self._calls:
            try:
                call()
            except Unavailable as exc:
                log.warning("webhooks wait for the next look: %s", exc)
