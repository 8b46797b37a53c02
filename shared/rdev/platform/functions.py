"""`rdev functions`: one gunicorn worker that serves every function on one port.

gevent, because nearly all of its clients wait. The application is loaded in the worker, so that
the master holds neither sockets nor threads of the stores.
"""

import os
import resource
from typing import Any

from gevent import monkey
from gunicorn.http import wsgi

from rdev.platform.listener import LISTEN_FD
from rdev.platform.served import Served, end_streams_with, end_telemetry

CONNECTIONS = 20_000


def _served(bind: str) -> Served:
    def load() -> Any:
        from rdev.platform.gateway import application

        return application()

    return Served(
        load,
        bind=bind,
        worker_class="rdev.platform.gevent_worker.Worker",
        worker_connections=CONNECTIONS,
        graceful_timeout=5,
        proc_name="rdev functions",
        post_worker_init=end_streams_with,
        worker_exit=end_telemetry,
    )


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM. With RDEV_LISTEN_FD set that socket is used, and host and port only
    tell the reader of a process list."""
    # Before anything else imports what it patches.
    monkey.patch_all()
    from rdev.platform.logs import configure

    configure()
    _allow_many_connections()
    wsgi.SERVER = "rdev"  # the Server header; gunicorn has no setting for it
    handed = os.environ.pop(LISTEN_FD, None)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    _served(f"fd://{handed}" if handed else address).run()


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 1000
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
