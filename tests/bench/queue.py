"""Commands a second, `true`, from submission to the recorded end, eight at once; against RQ and
Celery with as many workers, on the same Valkey."""

import gc
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import redis
import rq

from bench.rows import Row, in_turn
from live_stack import Stack, running_stack, wait_for

AT_ONCE = 8
COMMANDS = 160
_ENOUGH_S = 60
_TESTS = Path(__file__).parents[1]

Run = Callable[[], Callable[[], None]]
"""Makes a client; each call of it has one command run, to its recorded end."""


def rows() -> Iterator[Row]:
    with running_stack() as stack:
        socket = stack.home / "run" / "valkey.sock"
        with _rq(f"unix://{socket}?db=1") as by_rq, _celery(socket) as by_celery:
            by_rdev = _rdev(stack)
            rates = in_turn(lambda: _rate(by_rq), lambda: _rate(by_celery), lambda: _rate(by_rdev))
    rq_rate, celery_rate, rdev_rate = rates
    what = f"commands a second, `true`, {AT_ONCE} at once"
    yield Row(f"{what}, against RQ (forking)", rq_rate, rdev_rate, "/s", goal=2.0)
    yield Row(f"{what}, against Celery (prefork)", celery_rate, rdev_rate, "/s", goal=0.5)


def _rate(make: Run) -> float:
    left = itertools.count()
    runs = [make() for _ in range(AT_ONCE)]
    failed: list[BaseException] = []

    def work(run: Callable[[], None]) -> None:
        try:
            while next(left) < COMMANDS:
                run()
        except BaseException as exc:  # noqa: BLE001 - raised below
            failed.append(exc)

    for run in runs:  # what the first one loads is not the queue's
        run()
    threads = [threading.Thread(target=work, args=(run,)) for run in runs]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.perf_counter() - began
    if failed:
        raise failed[0]
    return COMMANDS / took_s


def _rdev(stack: Stack) -> Run:
    secret = stack.key("projects:read", "projects:execute").secret

    def make() -> Callable[[], None]:
        connection = HTTPConnection("127.0.0.1", stack.port, timeout=_ENOUGH_S)
        headers = {
            "X-API-Key": str(secret),
            "Content-Type": "application/json",
            "Prefer": f"wait={_ENOUGH_S // 2}",
        }

        def run() -> None:
            connection.request("POST", "/projects/demo/shell", b'{"command": "true"}', headers)
            with connection.getresponse() as response:
                answer = response.read()
            assert response.status == 200, answer
            assert json.loads(answer)["data"]["status"] == "succeeded", answer

        return run

    return make


@contextmanager
def _rq(url: str) -> Iterator[Run]:
    with (
        redis.Redis.from_url(url, socket_timeout=2 * _ENOUGH_S) as client,  # it blocks
        _workers("rq.cli", "worker-pool", "--quiet", "--num-workers", str(AT_ONCE), "--url", url),
    ):
        wait_for(lambda: rq.Worker.count(connection=client) == AT_ONCE)

        def make() -> Callable[[], None]:
            queue = rq.Queue(connection=client)

            def run() -> None:
                result = queue.enqueue("bench.queue_jobs.run_true").latest_result(_ENOUGH_S)
                assert result is not None
                assert result.return_value == 0

            return run

        yield make


@contextmanager
def _celery(socket: Path) -> Iterator[Run]:
    os.environ["BENCH_CELERY_URL"] = f"redis+socket://{socket}?virtual_host=2"
    from bench import queue_jobs

    options = ("--pool=prefork", f"--concurrency={AT_ONCE}", "--loglevel=ERROR")
    with _workers("celery", "-A", "bench.queue_jobs", "worker", *options):
        wait_for(lambda: queue_jobs.app.control.ping(timeout=1))

        def run() -> None:
            # Its client must not be shared by threads; each has its own by now.
            result = queue_jobs.celery_run_true.delay()
            assert result.get(timeout=_ENOUGH_S) == 0

        try:
            yield lambda: run
        finally:
            gc.collect()  # results forget themselves in the Valkey, while that is there


@contextmanager
def _workers(*argv: str) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", *argv],
        cwd=_TESTS,
        env={**os.environ, "PYTHONPATH": str(_TESTS), "C_FORCE_ROOT": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)  # RQ waits for longer where nothing is to be waited for
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
