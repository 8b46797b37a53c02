"""Connections that wait for the next request: a few, for a short while.

They belong to (scheme, host, port, address): the address was judged when the connection was made
and is judged again before it is used, since it must be among the name's present ones.
"""

import threading
import time
from collections import defaultdict, deque

from rdev.adapters.webhooks.connection import Connection
from rdev.adapters.webhooks.target import Target
from rdev.domain.addresses import Address

_Key = tuple[str, str, int, Address]


class Kept:
    """At most `most` of them, each for `keep_s` seconds at most."""

    def __init__(self, most: int = 256, keep_s: float = 30.0) -> None:
        self._most = most
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._waiting: defaultdict[_Key, deque[tuple[float, Connection]]] = defaultdict(deque)
        self._count = 0
        self._next_look = 0.0

    def take(self, target: Target, address: Address) -> Connection | None:
        """One that still waits quietly, the freshest first."""
        key = (target.scheme, target.host, target.port, address)
        while True:
            with self._lock:
                waiting = self._waiting.get(key)
                if not waiting:
                    return None
                since, connection = waiting.pop()
                self._count -= 1
            if time.monotonic() - since < self._keep_s and connection.is_quiet():
                return connection
            connection.close()

    def put(self, target: Target, connection: Connection) -> None:
        """Keep it if there is room, else close it."""
        now = time.monotonic()
        self._close_old(now)
        key = (target.scheme, target.host, target.port, connection.address)
        with self._lock:
            if self._count < self._most:
                self._waiting[key].append((now, connection))
                self._count += 1
                return
        connection.close()

    def close(self) -> None:
        """Close all that wait."""
        self._close_old(float("inf"))

    def _close_old(self, now: float) -> None:
        if now < self._next_look:
            return
        old: list[Connection] = []
        with self._lock:
            self._next_look = now + 1 if now < float("inf") else 0.0
            for key, waiting in list(self._waiting.items()):
                while waiting and now - waiting[0][0] >= self._keep_s:
                    old.append(waiting.popleft()[1])
                if not waiting:
                    del self._waiting[key]
            self._count -= len(old)
        for connection in old:
            connection.close()
