"""gunicorn's gevent worker, with a deadline for a client's first request, and whose own end no idle
connection puts off.

gunicorn's own limit for the headers of a request is the one for idle connections, over a minute: so
long may a client that sends a byte a second hold each of its connections. And so long, up to its
grace, it would wait at SIGTERM for a proxy that keeps a connection and has nothing to ask.
"""

from typing import Any
from weakref import WeakKeyDictionary

import gevent
from gunicorn.workers.ggevent import GeventWorker

from rdev.config import settings
from rdev.platform.served import FIRST_REQUEST_S
from rdev.platform.unparsable import Answering

_Waits = WeakKeyDictionary[gevent.Greenlet, gevent.Timeout]

_ACCEPT_S = 0.05
"""How long, once told to end, to go on as before, so that who is connected already is accepted."""


class Worker(Answering, GeventWorker):  # type: ignore[misc] # gunicorn has no annotations
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._idle: _Waits = WeakKeyDictionary()
        """What ends the wait for a further request, by connection; of some it is over already."""
        self._fresh: _Waits = WeakKeyDictionary()
        """The same for a first one."""

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        for waits in (self._idle, self._fresh):
            waits.pop(gevent.getcurrent(), None)
        # For http/middleware.py, to have the connection closed: gunicorn ignores the header.
        req.body.close_connection = req.force_close
        return super().handle_request(listener_name, req, sock, addr)

    def timeout_ctx(self) -> gevent.Timeout:
        """Entered before each request's headers are read, in the connection's own greenlet. From
        the second on they share their time with the idling before them."""
        connection = gevent.getcurrent()
        if getattr(connection, "rdev_served", False):
            timeout = gevent.Timeout(self.cfg.keepalive if self.alive else 0, False)
            self._idle[connection] = timeout
            return timeout
        connection.rdev_served = True
        timeout = gevent.Timeout(min(self.cfg.keepalive, settings().request_timeout_s), False)
        self._fresh[connection] = timeout
        return timeout

    def handle_exit(self, sig: Any, frame: Any) -> None:
        gevent.spawn_later(_ACCEPT_S, self._end, sig, frame)

    def _end(self, sig: Any, frame: Any) -> None:
        super().handle_exit(sig, frame)
        self._end_waits(self._idle)
        gevent.spawn_later(FIRST_REQUEST_S, self._end_waits, self._fresh)

    def _end_waits(self, waits: _Waits) -> None:
        """Close what waits for a request, as any server may at any time."""
        later = gevent.get_hub().loop.run_callback
        for connection, timeout in list(waits.items()):
            later(self._end_wait, waits, connection, timeout)

    def _end_wait(
        self, waits: _Waits, connection: gevent.Greenlet, timeout: gevent.Timeout
    ) -> None:
        # Looked at in the moment in which it is done: a request may have come until then.
        if waits.get(connection) is timeout:
            connection.throw(timeout)
