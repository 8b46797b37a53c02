"""One function alone on a port, as the image serves it: `python -m rdev.platform.function`.

FUNCTION_TARGET names the function, HOST (all) and PORT (8080) where it listens, as
functions-framework has it. The function is loaded in the worker, so that the master holds neither
sockets nor threads of stores.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdev.http.routes import FUNCTIONS
from rdev.platform import starting

if TYPE_CHECKING:
    from rdev.platform.served import Served

TARGETS = (*FUNCTIONS, "runner")
GRACE_S = 25
"""From SIGTERM on; Kubernetes kills after 30 where nobody says otherwise."""
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - gunicorn makes a file of its own there


@dataclass(frozen=True)
class Serving:
    """How a function is served. `at_once` is how many requests it can be busy with."""

    worker_class: str
    at_once: int

    @property
    def gevent(self) -> bool:
        return self.worker_class == _GEVENT


_GEVENT = "rdev.platform.gevent_worker.Worker"
_THREADS = "rdev.platform.threads_worker.Worker"
_SERVING = {
    # Nearly all of its clients wait.
    "events": Serving(_GEVENT, 1000),
    # Never gevent: a process that it has patched spawns seven times slower.
    "runner": Serving(_THREADS, 8),
}
_OTHERS = Serving(_THREADS, 16)
_WOKEN = frozenset({"runner", "webhooks"})
"""Those that work inside a request for as long as there is something to do."""


def serving(target: str) -> Serving:
    """How `target` is served. Manifests let no more requests in than `at_once`."""
    return _SERVING.get(target, _OTHERS)


def _served(target: str, bind: str) -> "Served":
    from rdev.platform.served import Served, end_streams_with, end_telemetry, hand_over_with

    how = serving(target)

    def load() -> Any:
        from rdev.platform.gateway import load_function

        return load_function(target)

    return Served(
        load,
        bind=bind,
        worker_class=how.worker_class,
        worker_connections=10 * how.at_once if how.gevent else 1000,
        threads=1 if how.gevent else how.at_once,
        worker_tmp_dir=_SHARED_MEMORY if Path(_SHARED_MEMORY).is_dir() else None,
        graceful_timeout=GRACE_S,
        proc_name=f"rdev {target}",
        post_worker_init=hand_over_with if target in _WOKEN else end_streams_with,
        worker_exit=end_telemetry,
    )


def serve(target: str, bind: str) -> None:
    """Serve one function until SIGTERM. `bind` as gunicorn's."""
    if target not in TARGETS:
        sys.exit(f"rdev: FUNCTION_TARGET must be one of {', '.join(TARGETS)}, not {target!r}")
    starting.begin()
    if serving(target).gevent:
        # Before anything else imports what it patches.
        from gevent import monkey

        monkey.patch_all()
    from rdev.platform.logs import configure

    configure()
    from gunicorn.http import wsgi

    wsgi.SERVER = "rdev"  # the Server header; gunicorn has no setting for it
    _served(target, bind).run()


if __name__ == "__main__":
    listen = f"{os.environ.get('HOST', '0.0.0.0')}:{os.environ.get('PORT', '8080')}"  # noqa: S104
    serve(os.environ.get("FUNCTION_TARGET", ""), listen)
