"""gunicorn's worker of threads, in which no client holds a thread for longer than a request may
take to arrive, and whose end loses nobody who is connected.

gunicorn's own gives each new connection a thread for five seconds to begin to speak, and as long as
it likes to end its headers: a few silent clients, and nobody else is served. At SIGTERM it resets,
once it has ended, whoever was connected and not yet accepted.
"""

import select
import time
from typing import Any

from gunicorn.workers import gthread

from rdev.config import settings
from rdev.http import slow_clients
from rdev.platform.served import FIRST_REQUEST_S
from rdev.platform.unparsable import Answering

_SPEAKS_AT_ONCE_S = 0.02


class Worker(Answering, gthread.ThreadWorker):  # type: ignore[misc] # gunicorn has no annotations
    def handle(self, conn: Any) -> Any:
        if not (conn.initialized or self._speaks(conn)):
            return gthread._DEFER  # it waits where waiting takes no thread
        slow_clients.begin(conn.sock, settings().request_timeout_s)
        try:
            return super().handle(conn)
        finally:
            slow_clients.end(conn.sock)

    def _speaks(self, conn: Any) -> bool:
        if conn.wait_for_data(_SPEAKS_AT_ONCE_S):
            return True
        # Whom a worker that is to end defers, it closes.
        return not self.alive and bool(conn.wait_for_data(FIRST_REQUEST_S))

    def handle_request(self, req: Any, conn: Any) -> Any:
        slow_clients.end(conn.sock)  # the headers are here
        return super().handle_request(req, conn)

    def handle_exit(self, sig: Any, frame: Any) -> None:
        self.method_queue.defer(self._end, sig, frame)

    def _end(self, sig: Any, frame: Any) -> None:
        """In the loop, between two connections."""
        if not self.alive:
            return
        super().handle_exit(sig, frame)
        latest = time.monotonic() + FIRST_REQUEST_S
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, latest)
        self.set_accept_enabled(False)
        for listener in self.sockets:
            while select.select([listener], [], [], 0)[0]:
                self.accept(listener)
            listener.close()  # who comes now is refused, and can try elsewhere at once
