"""gunicorn's worker of threads, in which no client holds up others, and whose end loses nobody who
is connected.

gunicorn's own gives each new connection a thread for five seconds to begin to speak, and as long as
it likes to end its headers: a few silent clients, and nobody else is served. In its one loop it
waits for each client that was answered to close, up to two seconds, and nobody else is served
either. It ends at once where it has no descriptor for a new connection. At SIGTERM it resets, once
it has ended, whoever was connected and not yet accepted.
"""

import logging
import select
import selectors
import socket
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.workers import gthread

from rdev.config import settings
from rdev.http import slow_clients
from rdev.platform.served import FIRST_REQUEST_S
from rdev.platform.unparsable import Answering

log = logging.getLogger(__name__)

_SPEAKS_AT_ONCE_S = 0.02
_LINGER_S = 2.0
"""How long, once it was answered, a client may take to close: what it still sends would have the
kernel take back what it has not read of its answer (RFC 9112, section 9.6)."""
_FULL_S = 0.1
"""How long to go without descriptors before the next look for one."""
_DRAINED_BYTES = 65536


class Worker(Answering, gthread.ThreadWorker):  # type: ignore[misc] # gunicorn has no annotations
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sockets: list[Any]
        self._leaving: deque[Any] = deque()
        """Connections that were answered, and that their clients are to close."""

    # --- in the threads --------------------------------------------------------------------------

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

    # --- in the loop -----------------------------------------------------------------------------

    def accept(self, listener: Any) -> None:
        try:
            super().accept(listener)
        except OSError as exc:  # such as no descriptor left: who has one is served
            log.warning("nobody can connect: %s", exc)
            time.sleep(_FULL_S)

    def finish_request(self, conn: Any, fs: Any) -> None:
        result = None if fs.cancelled() or fs.exception() else fs.result()
        if result is gthread._DEFER and not self.alive:
            # As while it is not to end; gunicorn would close it.
            self._wait_for(
                conn, FIRST_REQUEST_S, self.pending_conns, self.on_pending_socket_readable
            )
        elif result is False:
            with suppress(OSError):  # the client was faster
                conn.sock.shutdown(socket.SHUT_WR)
            self._wait_for(conn, _LINGER_S, self._leaving, self._drain)
        else:
            super().finish_request(conn, fs)

    def _wait_for(self, conn: Any, timeout_s: float, among: deque[Any], then: Any) -> None:
        try:
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(then, conn))
        except (OSError, ValueError, KeyError):  # it was closed
            self._close(conn)
            return
        conn.timeout = time.monotonic() + timeout_s
        among.append(conn)

    def _drain(self, conn: Any, client: Any) -> None:
        try:
            more = client.recv(_DRAINED_BYTES)
        except BlockingIOError:
            return
        except OSError:
            more = b""
        if not more:
            self._leaving.remove(conn)
            self._leave(conn)

    def _leave(self, conn: Any) -> None:
        with suppress(OSError, ValueError, KeyError):
            self.poller.unregister(conn.sock)
        self._close(conn)

    def _close(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()

    def murder_pending(self) -> None:
        super().murder_pending()
        while self._leaving and self._leaving[0].timeout <= time.monotonic():
            self._leave(self._leaving.popleft())

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if not (enabled or self.alive):
            self._take_the_last()

    def _take_the_last(self) -> None:
        """Accept who is connected by now. Who comes later is refused, and can try elsewhere at
        once."""
        latest = time.monotonic() + FIRST_REQUEST_S
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, latest)
        listeners, self.sockets = self.sockets, []
        for listener in listeners:
            with suppress(OSError):  # such as no descriptor left
                for _ in range(self.cfg.backlog):  # there may always be another one
                    if not select.select([listener], [], [], 0)[0]:
                        break
                    super().accept(listener)
            listener.close()
