"""The gate of keys: in one call, what all replicas agree on about a key and its sliding window.
Requests that come at the same time share its round trip.

All keys of one API key share a slot. A version that is missing, or suspended, means: ask Postgres.
"""

import secrets
import time
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from redis.exceptions import RedisError, ResponseError

from rdev.adapters.redis.connect import connect, watch_pool
from rdev.adapters.redis.pipelined import Pipelined
from rdev.adapters.redis.traced import where
from rdev.domain.rate_limits import Window
from rdev.errors import StoreUnavailable
from rdev.ports import metrics, tracing
from rdev.ports.keys import Entry
from rdev.together import Together

_REMEMBERED_S = 3600
_SUSPENDED_S = 30
_PAUSE_S = 1.0
_SUSPENDED = b"?"


class KeyGate:
    """After a failure it answers StoreUnavailable for a second without asking, so that a Redis
    that hangs costs one request a time-out and not all of them."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._client: Any = connect(url, timeout_s=timeout_s, on_connect=self._connected)
        self._generation = 0
        self._quiet_until = 0.0
        watch_pool(self._client, "gate")
        metrics.BREAKER_OPEN.watch(lambda: [(("gate",), float(self._quiet))], "gate")
        self._span = {**where(self._client.connection_pool), "db.operation.name": "EVALSHA"}
        self._requests = Pipelined(self._client, _text("enter"), keys=3)
        # A request that waits has one before it in flight, and is then in flight itself.
        self._enter = Together(self._ask_together, timeout_s=2 * timeout_s + 1)
        self._fill = self._script("fill")
        self._publish = self._script("publish")

    @property
    def generation(self) -> int:
        """Changes with every new connection: a server that was restarted, or that took over from
        another, may have lost the last second, and is reached by new connections only."""
        return self._generation

    def enter(self, key_id: str, limit: int) -> Entry:
        word = secrets.token_hex(8)
        with tracing.inner("EVALSHA", self._span):
            said = self._enter((*_names(key_id), limit, word))
        if isinstance(said, ResponseError):
            raise _unavailable() from said
        version, taken, remaining, reset_ms, retry_ms = said
        known = None if version in (b"", _SUSPENDED) else int(version)
        window = Window(limit, remaining, reset_ms, retry_ms)
        return Entry(window, known, word if taken else None)

    def fill(self, key_id: str, word: str, version: int) -> None:
        version_key, _, word_key = _names(key_id)
        self._ask(self._fill, [version_key, word_key], [word, version, _REMEMBERED_S])

    def publish(self, key_id: str, version: int) -> None:
        version_key, _, word_key = _names(key_id)
        self._ask(self._publish, [version_key, word_key], [version, _REMEMBERED_S], urgent=True)

    def suspend(self, key_id: str) -> None:
        version_key, _, word_key = _names(key_id)
        try:
            with self._client.pipeline(transaction=True) as both:
                both.set(version_key, _SUSPENDED, ex=_SUSPENDED_S)
                both.delete(word_key)
                both.execute()
        except RedisError as exc:
            raise _unavailable() from exc

    def close(self) -> None:
        self._requests.close()
        self._client.close()

    @property
    def _quiet(self) -> bool:
        return time.monotonic() < self._quiet_until

    def _ask_together(self, requests: Sequence[Sequence[Any]]) -> Sequence[Any]:
        if self._quiet:
            raise _unavailable()
        try:
            return self._requests.call(requests)
        except RedisError as exc:
            self._quiet_until = time.monotonic() + _PAUSE_S
            raise _unavailable() from exc

    def _ask(self, script: Any, keys: list[str], args: list[Any], *, urgent: bool = False) -> Any:
        if self._quiet and not urgent:
            raise _unavailable()
        try:
            return script(keys=keys, args=args)
        except RedisError as exc:
            self._quiet_until = time.monotonic() + _PAUSE_S
            raise _unavailable() from exc

    def _connected(self, connection: Any) -> None:
        connection.on_connect()
        self._generation += 1

    def _script(self, name: str) -> Any:
        return self._client.register_script(_text(name))


def _text(name: str) -> str:
    return files("rdev.adapters.redis").joinpath(f"{name}.lua").read_text()


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable("Redis does not answer. Try again after `Retry-After`.")


def _names(key_id: str) -> tuple[str, str, str]:
    slot = f"rdev:{{{key_id}}}"
    return f"{slot}:version", f"{slot}:window", f"{slot}:fill"
