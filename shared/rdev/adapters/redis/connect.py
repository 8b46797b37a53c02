"""Clients of Redis. Nothing is retried behind our back: a repeated XADD is a second entry.

redis-py's own defaults (a socket timeout of 5 s, ten retries) make a blocking read hang for a
minute and then raise; so blocking reads get a client of their own.
"""

import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis._parsers import _HiredisParser
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from rdev.adapters.redis.traced import TracedRedis
from rdev.errors import StoreUnavailable
from rdev.ports import metrics
from rdev.ports.measuring import Reading


class _Parser(_HiredisParser):
    """Theirs; but the look that the pool takes at a connection before each call, whether it was
    closed meanwhile, asks the kernel alone. gevent's `poll` goes round its loop even where it is
    not to wait: under it the look cost as much as the call."""

    def can_read(self, timeout: float = 0) -> bool:
        if timeout == 0 and self._sock is not None and not self._holds_data():
            poll = _kernels_poll()
            poll.register(self._sock, select.POLLIN)
            if not poll.poll(0):
                return False
        return bool(super().can_read(timeout))

    def _holds_data(self) -> bool:
        decrypted = getattr(self._sock, "pending", lambda: 0)
        return bool(self._reader.has_data() or decrypted())


def _kernels_poll() -> Any:
    monkey = sys.modules.get("gevent.monkey")  # where it is not loaded, it has patched nothing
    return (monkey.get_original("select", "poll") if monkey else select.poll)()


def connect(
    url: str,
    *,
    timeout_s: float = 5.0,
    max_connections: int = 32,
    on_connect: Callable[[Any], None] | None = None,
) -> redis.Redis:
    """A client for short calls. Each ends within `timeout_s`; one that fails is not repeated.

    With all connections in use a call waits for one, `timeout_s` at most. Connects lazily.
    `on_connect` stands in for redis-py's own greeting of a new connection, which it has to call."""
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        health_check_interval=30,
        redis_connect_func=on_connect,
        **_options(url),
    )
    return TracedRedis(connection_pool=pool)


def connect_blocking(url: str, *, block_s: float, margin_s: float = 5.0) -> redis.Redis:
    """A client for reads that block up to `block_s`, a connection each: its socket's timeout lies
    `margin_s` above, so that only a dead connection ever meets it."""
    pool = redis.ConnectionPool.from_url(
        url,
        max_connections=64,
        socket_timeout=block_s + margin_s,
        socket_connect_timeout=margin_s,
        **_options(url),
    )
    return redis.Redis(connection_pool=pool)


def watch_pool(client: redis.Redis, name: str) -> None:
    """Have this process's gauge of connections read from this client's pool too."""

    def read() -> list[Reading]:
        counted = client.connection_pool.get_connection_count()
        return [((name, str(labels["db.client.connection.state"])), n) for n, labels in counted]

    metrics.REDIS_CONNECTIONS.watch(read, name)


def _options(url: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "protocol": 2,
        "parser_class": _Parser,
        "driver_info": None,  # spares each new connection two round trips
    }
    if not url.startswith("unix:"):  # redis-py's Unix connection takes no such argument
        options["socket_keepalive"] = True
    if url.startswith("rediss:"):
        # Something to ask on each new connection: after its handshake TLS sends tickets, which
        # redis-py takes for an answer that nobody read. The first answer has them off the line.
        options["client_name"] = "rdev"
    return options


@contextmanager
def translated() -> Iterator[None]:
    """Whatever redis-py raises becomes StoreUnavailable: the caller's next step is the same."""
    try:
        yield
    except RedisError as exc:
        raise StoreUnavailable("Redis does not answer. Try again after `Retry-After`.") from exc
