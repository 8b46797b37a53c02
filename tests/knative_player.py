"""Plays Knative for functions that are at zero: a Broker with the Triggers of deploy/knative, its
tries and its two modes of CloudEvents; PingSource; and the activator that starts who is called."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent, from_http

from functions_alone import FunctionAlone
from http_client import Answer
from rdev.config import SOURCE_ROOT

BASE = SOURCE_ROOT / "deploy" / "knative" / "base"
TRIES = 6
"""The first and five more, as eventing.yaml has it."""
PAUSE_S = 0.05
"""Before the first of them, doubled with each: eventing.yaml has 2 s."""
MODES = {"binary": to_binary, "structured": to_structured}


def tried_again(status: int) -> bool:
    """Which answers Knative takes for a failed delivery that may succeed; 0: there was none."""
    return status == 0 or status >= 500 or status in (404, 408, 409, 429)


@dataclass(frozen=True)
class Delivered:
    subscriber: str
    type: str
    status: int
    body: bytes


class Broker(ThreadingHTTPServer):
    """Takes events as a Broker's ingress does, refusing what is none, and hands them on in its own
    time. `copies` of each; none at all while `losing`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Ingress)
        self.functions: dict[str, FunctionAlone] = {}
        self.mode = "binary"
        self.copies = 1
        self.losing = False
        self.taken: list[CloudEvent] = []
        self.delivered: list[Delivered] = []
        self._changed = threading.Condition()
        self._under_way = 0
        documents = yaml.safe_load_all((BASE / "eventing.yaml").read_text())
        self._triggers = [each["spec"] for each in documents if each["kind"] == "Trigger"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def take(self, event: CloudEvent) -> None:
        self.taken.append(event)
        if self.losing:
            return
        for trigger in self._triggers:
            if trigger["filter"]["attributes"] == {"type": event["type"]}:
                for _ in range(self.copies):
                    self.hand_on(trigger["subscriber"]["ref"]["name"], event)

    def ping(self, name: str) -> None:
        """What PingSource sends: a type of its own, straight to the function."""
        attributes = {"type": "dev.knative.sources.ping", "source": "/apis/v1/namespaces/rdev"}
        self.hand_on(name, CloudEvent(attributes, {}))

    def hand_on(self, name: str, event: CloudEvent) -> None:
        """In the background, from zero where the function is there."""
        with self._changed:
            self._under_way += 1
        threading.Thread(target=self._deliver, args=(name, event), daemon=True).start()

    def settle(self, timeout_s: float = 60) -> None:
        """Until no delivery is under way: when Knative would let the functions go to zero."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._under_way == 0, timeout_s)

    def _deliver(self, name: str, event: CloudEvent) -> None:
        headers, body = MODES[self.mode](event)
        status, told = 0, b""
        try:
            for number in range(TRIES):
                status, told = self._try(name, dict(headers), body)
                if not tried_again(status):
                    break
                time.sleep(PAUSE_S * 2**number)
        finally:
            with self._changed:
                self.delivered.append(Delivered(name, event["type"], status, told))
                self._under_way -= 1
                self._changed.notify_all()

    def _try(self, name: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        try:
            answer: Answer = self.functions[name].http.request("POST", "/", body, headers)
        except OSError:
            return 0, b""
        return answer.status, answer.body


class _Ingress(BaseHTTPRequestHandler):
    server: Broker

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        # Raises where it is no CloudEvent, and the sender gets no answer.
        event = from_http(dict(self.headers.items()), body)
        self.send_response(202)
        self.end_headers()
        self.server.take(event)

    def log_message(self, *_: Any) -> None:
        """Nothing: what was taken is the record."""


@contextmanager
def playing_knative() -> Iterator[Broker]:
    broker = Broker()
    thread = threading.Thread(target=broker.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield broker
    finally:
        broker.shutdown()
        thread.join()
        broker.server_close()
