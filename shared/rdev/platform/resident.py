"""`rdev runner`: the functions that are woken, under plain threads; beside them a resident runner
and a resident sender of webhooks.

Never gevent: a process that it has patched spawns seven times slower. The sender is here, and not
among the functions, since its threads do not mind a slow name server or TLS handshake, and since
what the API's clients wait for is not to wait for receivers."""

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from rdev import wiring
from rdev.platform.gateway import load_function
from rdev.platform.logs import configure
from rdev.platform.served import Served
from rdev.platform.wakeups import Wakeups

if TYPE_CHECKING:
    from rdev.services.deliveries import Deliveries
    from rdev.services.runner import Runner

log = logging.getLogger(__name__)

_HAND_OVER_S = 4.0
_LOOK_S = 0.1


def _served(bind: str) -> Served:
    return Served(
        lambda: Wakeups({noun: load_function(noun) for noun in ("runner", "webhooks")}),
        bind=bind,
        worker_class="rdev.platform.threads_worker.Worker",
        threads=4,
        graceful_timeout=5,
        proc_name="rdev runner",
        post_worker_init=_start,
        worker_exit=_hand_over,
    )


def _start(worker: Any) -> None:
    wiring.telemetry()
    for part in (wiring.resident_runner(), wiring.resident_deliveries()):
        threading.Thread(target=_run, args=(part,), name=type(part).__name__, daemon=True).start()
    threading.Thread(target=_stop_with, args=(worker,), name="stop", daemon=True).start()


def _stop_with(worker: Any) -> None:
    """Begin to hand over at the signal itself: gunicorn first waits for its own connections."""
    while worker.alive:
        time.sleep(_LOOK_S)
    wiring.resident_deliveries().stop()
    wiring.resident_runner().stop()


def _run(part: "Runner | Deliveries") -> None:
    try:
        part.run()
    except BaseException:
        # A runner that is gone must not look alive: have gunicorn start another worker.
        log.exception("%s ended", type(part).__name__)
        os._exit(1)


def _hand_over(_arbiter: Any, _worker: Any) -> None:
    runner = wiring.resident_runner()
    runner.stop()
    deliveries = wiring.resident_deliveries()
    deliveries.stop()
    runner.handed_over.wait(_HAND_OVER_S)
    deliveries.stopped.wait(_HAND_OVER_S)
    wiring.end_telemetry()


def run(bind: str | None = None) -> None:
    """Serve until SIGTERM, then hand over what runs. `bind` as gunicorn's, `RDEV_RUNNER_BIND`."""
    configure()
    _served(bind or os.environ.get("RDEV_RUNNER_BIND", "127.0.0.1:8081")).run()


if __name__ == "__main__":
    run()
