"""gunicorn's gevent worker with a deadline for a client's first request.

gunicorn's own limit for the headers of a request is the one for idle connections, over a minute: so
long may a client that sends a byte a second hold each of its connections.
"""

from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker

from rdev.config import settings
from rdev.platform.unparsable import Answering


class Worker(Answering, GeventWorker):  # type: ignore[misc] # gunicorn has no annotations
    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        # For http/middleware.py, to have the connection closed: gunicorn ignores the header.
        req.body.close_connection = req.force_close
        return super().handle_request(listener_name, req, sock, addr)

    def timeout_ctx(self) -> gevent.Timeout:
        """Entered before each request's headers are read, in the connection's own greenlet. From
        the second on they share their time with the idling before them."""
        connection = gevent.getcurrent()
        first = not getattr(connection, "rdev_served", False)
        connection.rdev_served = True
        limit_s = self.cfg.keepalive
        return gevent.Timeout(
            min(limit_s, settings().request_timeout_s) if first else limit_s, False
        )
