"""What every process of ours that listens has of gunicorn: one worker, which loads what is served,
so that the master holds neither sockets nor threads of the stores."""

from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication

_ALWAYS = {
    "workers": 1,
    "timeout": 0,
    "control_socket_disable": True,
    "loglevel": "warning",
    "logger_class": "rdev.platform.logs.GunicornLog",
}


class Served(BaseApplication):  # type: ignore[misc] # gunicorn has no annotations
    """`load` gives the WSGI application, in the worker. `run` serves it until SIGTERM."""

    def __init__(self, load: Callable[[], Any], **options: Any) -> None:
        self._load = load
        self._options = {**_ALWAYS, **options}
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return self._load()


def end_streams_with(worker: Any) -> None:
    """gunicorn's post_worker_init: open streams end when the worker is to."""
    from rdev.http.sse import end_streams_when

    end_streams_when(lambda: not worker.alive)


def end_telemetry(_arbiter: Any, _worker: Any) -> None:
    """gunicorn's worker_exit: what was measured and not yet sent is sent."""
    from rdev import wiring

    wiring.end_telemetry()
