"""Tickets say that something waits; doorbells, that a running command is to be looked at.

Neither carries anything that matters: the row is the truth. A lost one costs the time to the next
sweep. All keys share one slot, since one call reads them all.
"""

from typing import Any

import redis

from rdev.adapters.redis.connect import translated
from rdev.domain.commands import Priority

GROUP = "runners"
_TICKETS = {priority: f"rdev:{{queue}}:{priority}" for priority in Priority}
_DOORBELL = "rdev:{queue}:doorbell"
_KEPT = 10_000
_RECLAIMER = "sweep"
_GONE_MS = 3_600_000


class Tickets:
    """`client` answers at once; `blocking` may wait, and is never retried. Both are redis-py's,
    with RESP2: its annotations cannot tell the protocols' shapes apart, hence Any."""

    def __init__(self, client: Any, blocking: Any) -> None:
        self._client = client
        self._blocking = blocking
        self._taken: list[tuple[Any, list[Any]]] = []

    def offer(self, priority: Priority, command_id: str) -> None:
        """Wake a runner."""
        with translated():
            self._client.xadd(_TICKETS[priority], {"id": command_id}, maxlen=_KEPT)

    def restock(self, priority: Priority, command_id: str) -> None:
        """Offer a ticket where there is none: what waits lost its own."""
        with translated():
            if not self._client.xlen(_TICKETS[priority]):
                self.offer(priority, command_id)

    def reclaim(self, *, idle_s: float) -> bool:
        """Remove tickets whose taker died with them, and takers that are long gone. True if
        there were such tickets: somebody was not woken."""
        found = False
        with translated():
            for name in _TICKETS.values():
                try:
                    found = self._reclaim(name, int(idle_s * 1000)) or found
                except redis.ResponseError as exc:
                    if not _is_empty(exc):
                        raise
        return found

    def _reclaim(self, name: str, idle_ms: int) -> bool:
        reply = self._client.xautoclaim(name, GROUP, _RECLAIMER, idle_ms, "0-0", justid=True)
        if reply:
            self._remove(name, reply)
        for consumer in self._client.xinfo_consumers(name, GROUP):
            if consumer["idle"] > _GONE_MS and not consumer["pending"]:
                self._client.xgroup_delconsumer(name, GROUP, consumer["name"])
        return bool(reply)

    def take(self, consumer: str, timeout_s: float) -> bool:
        """Wait for a ticket, and take up to ten. True if there was one. They are removed by the
        next call: whoever was woken for them need not wait for that."""
        streams = dict.fromkeys(_TICKETS.values(), ">")
        with translated():
            self._remove_taken()
            try:
                found = self._blocking.xreadgroup(
                    GROUP, consumer, streams, count=10, block=max(1, int(timeout_s * 1000))
                )
            except redis.ResponseError as exc:
                if "NOGROUP" not in str(exc):
                    raise
                self._create_groups()
                return False
            self._taken = [
                (name, [entry_id for entry_id, _ in taken]) for name, taken in found or []
            ]
        return bool(found)

    def forget_consumer(self, consumer: str) -> None:
        """One that nobody knows is no error, nor is a Redis that knows no group yet."""
        with translated():
            self._remove_taken()
            for name in _TICKETS.values():
                try:
                    self._client.xgroup_delconsumer(name, GROUP, consumer)
                except redis.ResponseError as exc:
                    if not _is_empty(exc):
                        raise

    def ring(self, command_id: str) -> None:
        """Have whoever runs this command look at its row."""
        with translated():
            self._client.xadd(_DOORBELL, {"id": command_id}, maxlen=1000)

    def rung(self, after: str, timeout_s: float) -> tuple[str, list[str]]:
        """Wait for rings after `after` (`$` at first): where to go on, and the commands' ids."""
        with translated():
            if after == "$":
                last = self._client.xrevrange(_DOORBELL, count=1)
                after = _text(last[0][0]) if last else "0-0"
            found = self._blocking.xread(
                {_DOORBELL: after}, count=1000, block=max(1, int(timeout_s * 1000))
            )
        if not found:
            return after, []
        entries = found[0][1]
        return _text(entries[-1][0]), [_text(fields[b"id"]) for _, fields in entries]

    def _remove_taken(self) -> None:
        for name, ids in self._taken:
            self._remove(name, ids)
        self._taken = []

    def _remove(self, name: Any, ids: list[Any]) -> None:
        with self._client.pipeline(transaction=True) as both:
            both.xack(name, GROUP, *ids)
            both.xdel(name, *ids)
            both.execute()

    def _create_groups(self) -> None:
        for name in _TICKETS.values():
            try:
                self._client.xgroup_create(name, GROUP, id="0", mkstream=True)
            except redis.ResponseError as exc:
                if "BUSYGROUP" not in str(exc):
                    raise


def _is_empty(exc: redis.ResponseError) -> bool:
    """Whether it says that there is no such stream or group: nobody has waited for a ticket yet."""
    return any(
        words in str(exc) for words in ("NOGROUP", "no such key", "requires the key to exist")
    )


def _text(value: bytes) -> str:
    return value.decode()
