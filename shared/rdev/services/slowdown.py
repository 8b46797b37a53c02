"""Slowdown: repeated failures to authenticate from one address are answered later and later.

Only failures wait, never a request with a good key: many callers may share an address.
"""

import threading
from collections.abc import Callable, MutableMapping

from rdev.domain.addresses import Address, neighbourhood
from rdev.errors import TooManyRequests

_STEP_S = 0.1
_MOST_S = 1.0
_MOST_WAITING = 4
"""Fewer than any function has threads: those with a good key are served meanwhile."""


class Slowdown:
    def __init__(
        self,
        failures: MutableMapping[str, int],
        sleep: Callable[[float], None],
        *,
        free: int,
    ) -> None:
        """`failures` counts by address, is bounded, and forgets by itself; `free` of them are
        answered at once."""
        self._free = free
        self._failures = failures
        self._sleep = sleep
        self._waiting = 0
        self._lock = threading.Lock()  # a mapping that forgets is not for several threads at once

    def failed(self, address: Address | None) -> None:
        """Note a failure; return when it may be answered. Raises TooManyRequests where too many
        wait already."""
        place = neighbourhood(address)
        with self._lock:
            count = self._failures.get(place, 0) + 1
            self._failures[place] = count
            if count <= self._free:
                return
            if self._waiting >= _MOST_WAITING:
                raise TooManyRequests("Too many failed attempts.", retry_after_s=2)
            self._waiting += 1
        try:
            self._sleep(min(_MOST_S, (count - self._free) * _STEP_S))
        finally:
            with self._lock:
                self._waiting -= 1
