"""One scrape tells of all workers, whichever of them it reaches, and whatever happens to them."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

import promtool
from free_port import free_port
from http_client import Http
from live_stack import wait_for
from rdev.config import SOURCE_ROOT

WORKERS = 3
NO_STORE = "redis://127.0.0.1:1/0"


class Gunicorn:
    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process = process
        self.port = port

    def workers(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def get(self, path: str) -> bytes:
        """Over a connection of its own: any of the workers takes it."""
        return Http(self.port).get(path).body

    def samples(self, name: str) -> dict[str, float]:
        """By process, from one scrape; several of a process are added up."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(self.get("/metrics").decode()):
            for sample in family.samples:
                if sample.name == name and sample.labels.get("route") in (None, "/health"):
                    process = sample.labels["process"]
                    found[process] = found.get(process, 0) + sample.value
        return found


@pytest.fixture(scope="module", params=["sync", "gthread", "gevent"])
def gunicorn(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gunicorn]:
    """functions-framework's own application under gunicorn, as anybody may run it, with each kind
    of worker that rdev can be served by."""
    tmp_path = tmp_path_factory.mktemp("gunicorn")
    port = free_port()
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "FUNCTION_TARGET": "system",
        "FUNCTION_SOURCE": str(SOURCE_ROOT / "functions/system/main.py"),
        "RDEV_PEPPER": "x" * 32,
        "RDEV_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "RDEV_STORE_TIMEOUT_S": "0.2",
        "RDEV_REDIS_URL": NO_STORE,
        # Relative to where it runs: short, as the names of sockets must be.
        "RDEV_METRICS_DIR": "metrics",
    }
    command = [sys.executable, "-m", "gunicorn", "functions_framework:app", "--workers"]
    command += [str(WORKERS), "--bind", f"127.0.0.1:{port}", "--no-control-socket"]
    command += ["--worker-class", request.param, "--threads", "4"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=env, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
        )
    running = Gunicorn(process, port)
    try:
        wait_for(lambda: _answers(running, tmp_path / "log"))
        yield running
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def _answers(running: Gunicorn, log: Path) -> bool:
    assert running.process.poll() is None, log.read_text()
    try:
        # Every worker has had a request, and so answers for itself.
        running.get("/health")
        return len(running.samples("rdev_build_info")) == WORKERS
    except OSError:
        return False


def test_any_worker_tells_what_all_have_counted(gunicorn: Gunicorn) -> None:
    before = gunicorn.samples("rdev_http_requests_total")
    for _ in range(60):
        gunicorn.get("/health")
    everyone = {f"system-{number}" for number in range(WORKERS)}
    for _ in range(5):
        assert set(gunicorn.samples("rdev_process_up")) == everyone
        after = gunicorn.samples("rdev_http_requests_total")
        assert set(after) <= everyone  # the kernel need not have been fair to all
        assert sum(after.values()) - sum(before.values()) == 60
    counted = gunicorn.samples("rdev_http_request_duration_seconds_count")
    assert sum(counted.values()) == sum(after.values())
    promtool.check_metrics(gunicorn.get("/metrics").decode())


def test_what_many_ask_at_once_is_counted_once_each(gunicorn: Gunicorn) -> None:
    """While others scrape: what is told never falls, and in the end it is right."""
    before = sum(gunicorn.samples("rdev_http_requests_total").values())
    told: list[float] = []

    def ask() -> None:
        for _ in range(25):
            gunicorn.get("/health")

    def scrape() -> None:
        for _ in range(10):
            told.append(sum(gunicorn.samples("rdev_http_requests_total").values()))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(8)]
    threads.append(threading.Thread(target=scrape, daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = sum(gunicorn.samples("rdev_http_requests_total").values())
    assert after - before == 8 * 25
    assert told == sorted(told)
    assert len(told) == 10
    counted = gunicorn.samples("rdev_http_request_duration_seconds_count")
    assert sum(counted.values()) == after


def test_a_killed_workers_place_is_taken_again(gunicorn: Gunicorn) -> None:
    first, *others = gunicorn.workers()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: len(set(gunicorn.workers()) - {first}) == WORKERS)

    def all_answer() -> bool:
        gunicorn.get("/health")
        return set(gunicorn.samples("rdev_process_up").items()) == {
            (f"system-{number}", 1.0) for number in range(WORKERS)
        }

    wait_for(all_answer)
    assert set(others) < set(gunicorn.workers())


def test_a_worker_that_hangs_is_told_and_holds_up_nobody_for_long(gunicorn: Gunicorn) -> None:
    frozen = gunicorn.workers()[0]
    os.kill(frozen, signal.SIGSTOP)
    try:
        # One of the others: what is frozen may have taken a connection already.
        up = wait_for(lambda: _scraped(gunicorn.port))
    finally:
        os.kill(frozen, signal.SIGCONT)
    assert sorted(up.values()) == [0.0, *[1.0] * (WORKERS - 1)]


def _scraped(port: int) -> dict[str, float] | None:
    code = (
        "import sys, urllib.request as r;"
        "print(r.urlopen(f'http://127.0.0.1:{sys.argv[1]}/metrics', timeout=5).read().decode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(port)], capture_output=True, text=True, check=False
    )
    found = re.findall(r'^rdev_process_up\{process="([^"]+)"\} (\S+)$', done.stdout, re.M)
    return {name: float(value) for name, value in found} or None


def test_a_folder_that_cannot_be_used_leaves_each_to_itself(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    code = (
        "import sys; from pathlib import Path;"
        "from rdev.adapters.telemetry.exposing import Exposing;"
        "one = Exposing('1', 'test', Path(sys.argv[1]) / 'below'); one.start();"
        "print(one.exposition().decode()); one.stop()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True
    )
    assert 'rdev_process_up{process="test-0"} 1.0' in done.stdout
    assert "tells of this process alone" in done.stderr


def test_a_folder_that_others_may_write_into_is_not_used(tmp_path: Path) -> None:
    from rdev.adapters.telemetry.neighbours import Neighbours

    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError):
        Neighbours(tmp_path, "test")


def test_the_next_of_its_kind_takes_a_place_that_was_given_back(tmp_path: Path) -> None:
    from rdev.adapters.telemetry.neighbours import Neighbours

    folder = tmp_path / "m"
    one, other = Neighbours(folder, "test"), Neighbours(folder, "test")
    assert (one.name, other.name) == ("test-0", "test-1")
    one.answer(lambda: b"one")
    other.answer(lambda: b"other")
    assert one.ask() == {"test-1": b"other"}
    assert other.ask() == {"test-0": b"one"}
    one.leave()
    assert other.ask() == {}
    again = Neighbours(folder, "test")
    assert again.name == "test-0"
    again.leave()
    other.leave()
