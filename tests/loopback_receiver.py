"""Receivers of webhooks on loopback: good ones, and ones that answer as a test tells them."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

ENOUGH_S = 60.0
Answer = tuple[int, dict[str, str]]


@dataclass(frozen=True)
class Got:
    """One request."""

    at: float
    id: str
    headers: dict[str, str]
    body: bytes

    def verified(self, secret: str) -> Any:
        """Its content; raises unless the secret signed it."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """`answer` is asked for each request: its status and headers. It may take its time."""

    url: str
    answer: Callable[[Got], Answer] = lambda _: (204, {})
    got: list[Got] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    at_once: int = 0
    most_at_once: int = 0

    def ids(self) -> list[str]:
        with self.changed:
            return [each.id for each in self.got]

    def await_count(self, count: int, timeout_s: float = ENOUGH_S) -> list[Got]:
        """What came, once there are so many."""
        with self.changed:
            enough = self.changed.wait_for(lambda: len(self.got) >= count, timeout_s)
            assert enough, f"{len(self.got)} of {count} came"
            return list(self.got)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    receiver: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        got = Got(time.monotonic(), headers.get("webhook-id", ""), headers, body)
        with self.receiver.changed:
            self.receiver.got.append(got)
            self.receiver.at_once += 1
            self.receiver.most_at_once = max(self.receiver.most_at_once, self.receiver.at_once)
            self.receiver.changed.notify_all()
        status, more = self.receiver.answer(got)
        with self.receiver.changed:
            self.receiver.at_once -= 1
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass  # a sender that was killed


@contextmanager
def receiving(answer: Callable[[Got], Answer] | None = None) -> Iterator[Receiver]:
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hook")
    if answer is not None:
        receiver.answer = answer
    handler.receiver = receiver
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
