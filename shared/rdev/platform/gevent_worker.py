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
from rdev.platform.unparsable import Answering


class Worker(Answering, GeventWorker):  # type: ignore[misc] # gunicorn has no annotations
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._idle: WeakKeyDictionary[gevent.Greenlet, gevent.Timeout] = WeakKeyDictionary()
        """What ends the wait for a further request, by connection; of some it is over already."""

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        self._idle.pop(gevent.getcurrent(), None)
        # For http/middleware.py, to have the connection closed: gunicorn ignores the header.
        req.body.close_connection = req.force_close
        return super().handle_request(listener_name, req, sock, addr)

    def timeout_ctx(self) -> gevent.Timeout:
        """Entered before each request's headers are read, in the connection's own greenlet. From
        the second on they share their time with the idling before them."""
        connection = gevent.getcurrent()
        limit_s = self.cfg.keepalive if self.alive else 0
        if not getattr(connection, "rdev_served", False):
            connection.rdev_served = True
            return gevent.Timeout(min(self.cfg.keepalive, settings().request_timeout_s), False)
        self._idle[connection] = timeout = gevent.Timeout(limit_s, False)
        return timeout

    def handle_exit(self, sig: Any, frame: Any) -> None:
        super().handle_exit(sig, frame)
        gevent.spawn(self._end_idle)

    def _end_idle(self) -> None:
        """Close what waits for a further request, as any server may at any time."""
        later = gevent.get_hub().loop.run_callback
        for connection, timeout in list(self._idle.items()):
            later(self._end_if_idle, connection, timeout)

    def _end_if_idle(self, connection: gevent.Greenlet, timeout: gevent.Timeout) -> None:
        # Looked at in the moment in which it is done: a request may have come until then.
        if self._idle.get(connection) is timeout:
            connection.throw(timeout)
