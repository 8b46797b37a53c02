"""The pool and the transaction. What must commit together shares one `transaction()`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from rdev.adapters.postgres.archive import ArchiveRows
from rdev.adapters.postgres.commands import CommandRows
from rdev.adapters.postgres.input import InputRows
from rdev.adapters.postgres.keys import KeyRows
from rdev.adapters.postgres.projects import ProjectRows
from rdev.adapters.postgres.queue import QueueRows
from rdev.errors import StoreUnavailable

Connection = psycopg.Connection[DictRow]


class Transaction:
    """The tables, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.keys = KeyRows(connection)
        self.projects = ProjectRows(connection)
        self.commands = CommandRows(connection)
        self.queue = QueueRows(connection)
        self.input = InputRows(connection)
        self.archive = ArchiveRows(connection)


class Database:
    """Postgres. Raises StoreUnavailable, within `timeout_s`, when it cannot be had."""

    def __init__(self, url: str, *, pool_size: int, timeout_s: float) -> None:
        options: dict[str, Any] = {
            "row_factory": dict_row,
            "connect_timeout": max(2, int(timeout_s)),
            "options": f"-c statement_timeout={int(timeout_s * 1000)} -c timezone=UTC",
        }
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            connection_class=psycopg.Connection[DictRow],
            min_size=1,
            max_size=pool_size,
            timeout=timeout_s,
            # A restarted Postgres leaves dead connections behind: find out before using one.
            check=ConnectionPool.check_connection,
            reconnect_timeout=2,
            kwargs=options,
            open=True,
        )

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Commits when the block ends, rolls back when it raises."""
        try:
            with self._pool.connection() as connection:
                yield Transaction(connection)
        except (psycopg.OperationalError, PoolTimeout, psycopg.errors.InternalError_) as exc:
            message = "Postgres does not answer. Try again after `Retry-After`."
            raise StoreUnavailable(message) from exc

    def ping(self, timeout_s: float) -> None:
        """Raises StoreUnavailable unless Postgres answers within `timeout_s`."""
        try:
            with self._pool.connection(timeout=timeout_s) as connection:
                connection.execute("select 1")
        except (psycopg.OperationalError, PoolTimeout) as exc:
            raise StoreUnavailable("Postgres does not answer.") from exc

    def close(self) -> None:
        self._pool.close(timeout=2)
