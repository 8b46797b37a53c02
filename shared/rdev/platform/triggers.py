"""`rdev triggers`: plays Broker and schedule on one machine. It posts the same CloudEvents to the
same functions that Knative would; losing one costs only the time to the next."""

import logging
import os
import signal
import threading

import httpx
from cloudevents.conversion import to_binary
from cloudevents.http import CloudEvent

from rdev import wiring
from rdev.domain.wakeups import SWEEP
from rdev.platform.logs import configure
from rdev.ports import metrics

log = logging.getLogger(__name__)

_SWEEP_S = 30.0


def run() -> None:
    """Post until SIGTERM or SIGINT. `RDEV_RUNNER_BIND` names the runner's socket or address."""
    configure()
    wiring.telemetry()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with _client(os.environ.get("RDEV_RUNNER_BIND", "127.0.0.1:8081")) as client:
        while not stopping.wait(_SWEEP_S):
            _post(client, SWEEP)
    wiring.end_telemetry()


def _client(bind: str) -> httpx.Client:
    limit = httpx.Timeout(10.0, connect=2.0)
    if bind.startswith("unix:"):
        transport = httpx.HTTPTransport(uds=bind.removeprefix("unix:"))
        return httpx.Client(transport=transport, base_url="http://runner", timeout=limit)
    return httpx.Client(base_url=f"http://{bind}", timeout=limit)


def _post(client: httpx.Client, kind: str) -> None:
    event = CloudEvent({"type": kind, "source": "/rdev/triggers"}, {})
    headers, body = to_binary(event)
    try:
        client.post("/", headers=dict(headers), content=body).raise_for_status()
        metrics.WAKEUPS.add(kind, "sent")
    except httpx.HTTPError as exc:
        metrics.WAKEUPS.add(kind, "failed")
        log.warning("%s not delivered, the next one makes it good: %s", kind, exc)
