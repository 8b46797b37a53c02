"""gunicorn's gevent worker, with a deadline for a client's first request, whose own end no idle
connection puts off, and loses nobody who is connected.

gunicorn's own limit for the headers of a request is the one for idle connections, over a minute: so
long may a client that sends a byte a second hold each of its connections. And so long, up to its
grace, it would wait at SIGTERM for a proxy that keeps a connection and has nothing to ask. For up
to a second after that it would go on to accept, and then reset whoever is not yet being served.
"""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import gevent
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.workers.ggevent import GeventWorker

from rdev.config import settings
from rdev.platform.served import FIRST_REQUEST_S
from rdev.platform.unparsable import Answering

_Waits = WeakKeyDictionary[gevent.Greenlet, gevent.Timeout]

_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class _Listener:
    """What connections ask theirs for, also once it is closed."""

    name: Any

    def getsockname(self) -> Any:
        return self.name


class Worker(Answering, GeventWorker):  # type: ignore[misc] # gunicorn has no annotations
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._idle: _Waits = WeakKeyDictionary()
        """What ends the wait for a further request, by connection; of some it is over already."""
        self._fresh: _Waits = WeakKeyDictionary()
        """The same for a first one."""
        self._servers: list[StreamServer] = []

    def server_class(self, listener: Any, *, spawn: Pool, **_environ: Any) -> StreamServer:
        """gunicorn's own, but that we know it."""
        handle = partial(self.handle, _Listener(listener.getsockname()))
        server = StreamServer(listener, handle=handle, spawn=spawn)
        self._servers.append(server)
        return server

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
        gevent.spawn(self._end, sig, frame)

    def _end(self, sig: Any, frame: Any) -> None:
        while not self.booted:  # nobody is served yet
            gevent.sleep(_LOOK_S)
        if not self.alive:
            return
        for server in self._servers:
            self._take_the_last(server)
        super().handle_exit(sig, frame)
        self._end_waits(self._idle)
        gevent.spawn_later(FIRST_REQUEST_S, self._end_waits, self._fresh)

    def _take_the_last(self, server: StreamServer) -> None:
        """Accept who is connected by now. Who comes later is refused, and can try elsewhere at
        once."""
        with suppress(OSError):  # such as no descriptor left
            for _ in range(self.cfg.backlog):  # there may always be another one
                if server.full() or not (came := server.do_read()):
                    break
                server.do_handle(*came)
        server.close()

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
