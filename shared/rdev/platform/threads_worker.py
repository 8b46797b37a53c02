"""gunicorn's worker of threads, in which no client holds a thread for longer than a request may
take to arrive.

gunicorn's own gives each new connection a thread for five seconds to begin to speak, and as long as
it likes to end its headers: a few silent clients, and nobody else is served.
"""

from typing import Any

from gunicorn.workers import gthread

from rdev.config import settings
from rdev.http import slow_clients
from rdev.platform.unparsable import Answering

_SPEAKS_AT_ONCE_S = 0.02


class Worker(Answering, gthread.ThreadWorker):  # type: ignore[misc] # gunicorn has no annotations
    def handle(self, conn: Any) -> Any:
        if not (conn.initialized or conn.wait_for_data(_SPEAKS_AT_ONCE_S)):
            return gthread._DEFER  # it waits where waiting takes no thread
        slow_clients.begin(conn.sock, settings().request_timeout_s)
        try:
            return super().handle(conn)
        finally:
            slow_clients.end(conn.sock)

    def handle_request(self, req: Any, conn: Any) -> Any:
        slow_clients.end(conn.sock)  # the headers are here
        return super().handle_request(req, conn)
