"""Connections on which nobody waits for ever. The server's `statement_timeout` binds one that is
well; one that hangs, or a network that swallows everything, is bound by a limit of our own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow

_LOOKS_S = 0.1
T = TypeVar("T")


class AnsweringConnection(psycopg.Connection[DictRow]):
    limit_s: float | None = None
    """No answer is waited for longer: then OperationalError is raised, and it is closed."""

    @contextmanager
    def answering_within(self, limit_s: float) -> Iterator[None]:
        """With another limit inside."""
        usual, self.limit_s = self.limit_s, limit_s
        try:
            yield
        finally:
            self.limit_s = usual

    def wait(self, gen: PQGen[T], interval: float = _LOOKS_S, timeout: float | None = None) -> T:
        """psycopg's own: all that it asks goes this way, but for connecting."""
        try:
            return super().wait(gen, interval, self.limit_s if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.close()  # it owes an answer still, which the next one would take for theirs
            raise
