"""An authenticated, limited GET of one project against functions-framework's hello; and a decision
of the rate limit against the one of the `limits` package, on the same Valkey."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from bench.load import Measured, measure
from bench.rows import Row, in_turn
from free_port import free_port
from live_stack import Stack, running_stack
from rdev.adapters.redis.key_gate import KeyGate

CONNECTIONS = 32
SECONDS = 4.0
DECISIONS = 5000


def rows() -> Iterator[Row]:
    with running_stack() as stack, _hello() as hello_port:
        key = stack.key("projects:read").secret
        hello, project = [], []

        def reference() -> float:
            hello.append(get(hello_port, "/", {}))
            return hello[-1].rate

        def rdev() -> float:
            project.append(get(stack.port, "/projects/demo", {"X-API-Key": key}))
            return project[-1].rate

        rates = in_turn(reference, rdev)
        yield Row("GET of a project, 32 connections", *rates, "/s", goal=0.75)
        p99s = [sorted(each.p99_ms for each in side)[1] for side in (hello, project)]
        yield Row("the same, p99", *p99s, "ms", goal=1.0, at_most=True)
        yield _decisions(stack)


def get(port: int, path: str, headers: dict[str, str]) -> Measured:
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in headers.items())]
    request = "\r\n".join([*lines, "", ""]).encode()
    return measure(port, request, connections=CONNECTIONS, seconds=SECONDS)


def _decisions(stack: Stack) -> Row:
    """One at a time, on one connection each."""
    path = next((stack.home / "run").glob("valkey.sock"))
    gate = KeyGate(f"unix://{path}", timeout_s=5)
    limiter = SlidingWindowCounterRateLimiter(
        RedisStorage(
            "redis+unix://" + str(path),
            connection_pool=redis.ConnectionPool.from_url(f"unix://{path}"),
        )
    )
    item = RateLimitItemPerSecond(100_000)

    def reference() -> float:
        return _rate(lambda: limiter.hit(item, "bench"))

    def rdev() -> float:
        return _rate(lambda: gate.enter("key-bench", 100_000))

    return Row("rate limit decisions", *in_turn(reference, rdev), "/s", goal=1.0)


def _rate(decide) -> float:
    decide()
    began = time.perf_counter()
    for _ in range(DECISIONS):
        decide()
    return DECISIONS / (time.perf_counter() - began)


@contextmanager
def _hello() -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.hello", str(port)], cwd=Path(__file__).parents[1]
    )
    try:
        _await(port)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
