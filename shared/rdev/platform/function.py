"""One function alone on a port, as the image serves it: `python -m rdev.platform.function`.

FUNCTION_TARGET names the function, PORT the port (8080), as functions-framework has it. The
function is loaded in the worker, so that the master holds neither sockets nor threads of stores.
"""

import os
import sys
from dataclasses import dataclass
from typing import Any

from gunicorn.app.base import BaseApplication

from rdev.http.routes import FUNCTIONS

TARGETS = (*FUNCTIONS, "runner")
GRACE_S = 25
"""From SIGTERM on; Kubernetes kills after 30 where nobody says otherwise."""


@dataclass(frozen=True)
class Serving:
    """How a function is served. `at_once` is how many requests it can be busy with."""

    worker_class: str
    at_once: int

    @property
    def gevent(self) -> bool:
        return self.worker_class != "gthread"


_THREADS = Serving("gthread", 16)
_SERVING = {
    # Nearly all of its clients wait.
    "events": Serving("rdev.platform.gevent_worker.Worker", 1000),
    # Never gevent: a process that it has patched spawns seven times slower.
    "runner": Serving("gthread", 8),
}


def serving(target: str) -> Serving:
    """How `target` is served. Manifests let no more requests in than `at_once`."""
    return _SERVING.get(target, _THREADS)


class _Function(BaseApplication):  # type: ignore[misc] # gunicorn has no annotations
    def __init__(self, target: str, bind: str) -> None:
        self._target = target
        self._bind = bind
        super().__init__()

    def load_config(self) -> None:
        how = serving(self._target)
        options = {
            "bind": self._bind,
            "workers": 1,
            "worker_class": how.worker_class,
            "worker_connections": 10 * how.at_once if how.gevent else 1000,
            "threads": 1 if how.gevent else how.at_once,
            "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,  # noqa: PTH112, S108
            "timeout": 0,
            "graceful_timeout": GRACE_S,
            "keepalive": 75,
            "control_socket_disable": True,
            "proc_name": f"rdev {self._target}",
            "loglevel": "warning",
            "post_worker_init": end_streams_with,
            "worker_exit": end_telemetry,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        from rdev.platform.gateway import load_function

        return load_function(self._target)


def end_streams_with(worker: Any) -> None:
    """gunicorn's post_worker_init: open streams end when the worker is to."""
    from rdev.http.sse import end_streams_when

    end_streams_when(lambda: not worker.alive)


def end_telemetry(_arbiter: Any, _worker: Any) -> None:
    """gunicorn's worker_exit: what was measured and not yet sent is sent."""
    from rdev import wiring

    wiring.end_telemetry()


def serve(target: str, bind: str) -> None:
    """Serve one function until SIGTERM. `bind` as gunicorn's."""
    if target not in TARGETS:
        sys.exit(f"rdev: FUNCTION_TARGET must be one of {', '.join(TARGETS)}, not {target!r}")
    if serving(target).gevent:
        # Before anything else imports what it patches.
        from gevent import monkey

        monkey.patch_all()
    from rdev.platform.logs import configure

    configure()
    from gunicorn.http import wsgi

    wsgi.SERVER = "rdev"  # the Server header; gunicorn has no setting for it
    _Function(target, bind).run()


if __name__ == "__main__":
    serve(os.environ.get("FUNCTION_TARGET", ""), f"0.0.0.0:{os.environ.get('PORT', '8080')}")
