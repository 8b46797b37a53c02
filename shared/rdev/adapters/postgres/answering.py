"""Whether a Postgres answers, with a limit of our own: the server's `statement_timeout` does not
bind one that hangs."""

import selectors
import time
from typing import Any

import psycopg
from psycopg import pq


def ask(connection: psycopg.Connection[Any], timeout_s: float) -> None:
    """Raises OperationalError unless it answers in time; then the connection is closed."""
    try:
        _ask(connection.pgconn, time.monotonic() + timeout_s)
    except psycopg.OperationalError:
        connection.close()
        raise


def _ask(link: pq.abc.PGconn, until: float) -> None:
    link.send_query(b"select 1")
    with selectors.DefaultSelector() as selector:
        selector.register(link.socket, selectors.EVENT_READ)
        while True:
            while not link.is_busy():
                result = link.get_result()
                if result is None:
                    return
                if result.status != pq.ExecStatus.TUPLES_OK:
                    raise psycopg.OperationalError("it refused the question")
            if not selector.select(max(0.0, until - time.monotonic())):
                raise psycopg.OperationalError("no answer in time")
            link.consume_input()
