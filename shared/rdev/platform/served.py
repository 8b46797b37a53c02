"""What every process of ours that listens has of gunicorn: limits, and one worker, which loads what
is served, so that the master holds neither sockets nor threads of the stores."""

import threading
import time
from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication

from rdev.config import settings
from rdev.platform import starting

FIRST_REQUEST_S = 5.0
"""How long, once told to end, to wait for the first request of a connection: nobody has said that
it does not come, and unlike a further one it would not be tried again."""
_LOOK_S = 0.1
_ALWAYS = {
    # The master is up; then its worker starts, until it has loaded what it serves.
    "when_ready": lambda _arbiter: starting.end(),
    "post_fork": lambda _arbiter, _worker: starting.begin(),
    "workers": 1,
    "timeout": 0,
    "keepalive": 75,
    "control_socket_disable": True,
    "loglevel": "warning",
    "logger_class": "rdev.platform.logs.GunicornLog",
    # The limits for the query and for all headers together are http/request_limits.py's.
    "limit_request_line": 8190,
    "limit_request_fields": 100,
    "limit_request_field_size": 8190,
    # By default whoever calls from this machine may say where the application lies.
    "forwarder_headers": "",
}


class Served(BaseApplication):  # type: ignore[misc] # gunicorn has no annotations
    """`load` gives the WSGI application, in the worker. `run` serves it until SIGTERM."""

    def __init__(self, load: Callable[[], Any], **options: Any) -> None:
        self._load = load
        trusted = ",".join(settings().trusted_proxy_networks)
        self._options = {**_ALWAYS, "forwarded_allow_ips": trusted, **options}
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        loaded = self._load()
        starting.end()
        return loaded


def end_streams_with(worker: Any) -> None:
    """gunicorn's post_worker_init: open streams end when the worker is to."""
    from rdev.http.sse import end_streams_when

    end_streams_when(lambda: not worker.alive)


def hand_over_with(worker: Any) -> None:
    """gunicorn's post_worker_init: what was woken hands over when the worker is to end. Else it
    would go on claiming in its request, which gunicorn waits for, until it is killed."""

    def wait() -> None:
        from rdev import wiring

        while worker.alive:
            time.sleep(_LOOK_S)
        wiring.stop_woken_runners()
        wiring.stop_woken_deliveries()

    threading.Thread(target=wait, name="hand-over", daemon=True).start()


def end_telemetry(_arbiter: Any, _worker: Any) -> None:
    """gunicorn's worker_exit: what was measured and not yet sent is sent."""
    from rdev import wiring

    wiring.end_telemetry()
