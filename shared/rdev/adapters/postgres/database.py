"""The pool and the transaction. What must commit together shares one `transaction()`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from rdev.adapters.postgres.traced import TracedConnection
from rdev.adapters.postgres.transaction import Connection, Transaction
from rdev.errors import StoreUnavailable
from rdev.ports import metrics, tracing
from rdev.ports.measuring import Reading

_TRANSACTION = {"db.system.name": "postgresql"}
_KEPT_ALIVE = {"keepalives_idle": 30, "keepalives_interval": 5, "keepalives_count": 3}
"""Seconds, and how many go unanswered. What lies between forgets a connection that is silent for
minutes, and whoever used it next would wait for nothing."""
_UNAVAILABLE = (
    psycopg.OperationalError,
    psycopg.errors.InternalError_,
    psycopg.errors.IdleInTransactionSessionTimeout,
    PoolTimeout,
)


class Database:
    """Postgres. Raises StoreUnavailable where it refuses, hangs or is out of reach: no answer is
    waited for longer than `timeout_s`, nor a free connection."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int,
        timeout_s: float,
        on_delivery: Callable[[], None] = lambda: None,
        audit_command_text: str = "full",
    ) -> None:
        """`on_delivery` is called after a commit that left a webhook to be delivered."""
        self._timeout_s = timeout_s
        self._on_delivery = on_delivery
        self._audit_command_text = audit_command_text
        options: dict[str, Any] = {
            "row_factory": dict_row,
            "connect_timeout": max(2, int(timeout_s)),
            # Who freezes in a transaction must not hold its locks for as long.
            # A server that is well gives up a little before we do, and the connection is kept.
            "options": f"-c statement_timeout={int(timeout_s * 900)} -c timezone=UTC "
            f"-c idle_in_transaction_session_timeout={int(timeout_s * 2000)}",
            **_kept_alive(url),
        }
        self._pool: ConnectionPool[TracedConnection] = ConnectionPool(
            url,
            connection_class=TracedConnection,
            min_size=1,
            max_size=pool_size,
            timeout=timeout_s,
            configure=self._limit,
            check=_refuse_closed,
            reconnect_timeout=2,
            kwargs=options,
            open=True,
        )

    @contextmanager
    def transaction(self, *, reading: bool = False) -> Iterator[Transaction]:
        """Commits when the block ends, rolls back when it raises. `reading`: single statements
        that change nothing, each for itself, without the round trips of a begin and a commit."""
        try:
            with (
                tracing.inner("Database.transaction", _TRANSACTION, leaf=False),
                self._pool.connection() as connection,
            ):
                connection.autocommit = reading
                transaction = Transaction(connection, self._audit_command_text)
                yield transaction
        except _UNAVAILABLE as exc:
            metrics.POSTGRES_UNAVAILABLE.add()
            message = "Postgres does not answer. Try again after `Retry-After`."
            raise StoreUnavailable(message) from exc
        if transaction.left_deliveries:
            self._on_delivery()

    def ping(self, timeout_s: float) -> None:
        """Raises StoreUnavailable unless Postgres answers within `timeout_s`, or twice that where
        a connection has to be waited for."""
        try:
            with (
                self._pool.connection(timeout=timeout_s) as connection,
                connection.answering_within(timeout_s),
            ):
                connection.autocommit = True
                connection.execute("select 1")
        except PoolTimeout as exc:
            message = "Postgres does not answer, or this process has no connection to it free."
            raise StoreUnavailable(message) from exc
        except psycopg.OperationalError as exc:
            raise StoreUnavailable("Postgres does not answer.") from exc

    def _limit(self, connection: TracedConnection) -> None:
        connection.limit_s = self._timeout_s

    def watch_pool(self) -> None:
        """Have this process's gauges read from here."""
        metrics.POSTGRES_LIMIT.watch(lambda: [((), self._pool.max_size)])
        metrics.POSTGRES_WAITING.watch(lambda: [((), self._pool.get_stats()["requests_waiting"])])
        metrics.POSTGRES_CONNECTIONS.watch(self._connections)

    def _connections(self) -> list[Reading]:
        stats = self._pool.get_stats()
        idle = stats["pool_available"]
        return [(("idle",), idle), (("used",), stats["pool_size"] - idle)]

    def close(self) -> None:
        self._pool.close(timeout=2)


def _kept_alive(url: str) -> dict[str, int]:
    """But for what the URL says itself."""
    try:
        said = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return {}  # connecting tells what is wrong with it
    return {name: value for name, value in _KEPT_ALIVE.items() if name not in said}


def _refuse_closed(connection: Connection) -> None:
    """A restarted Postgres leaves dead connections behind: find out before using one, without a
    round trip. A server that went away has closed the connection, after its last words, if any;
    so the second look finds the end. Raises OperationalError, and the pool takes another one."""
    connection.pgconn.consume_input()
    connection.pgconn.consume_input()
