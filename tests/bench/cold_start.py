"""How long each function of the API takes from its process's start to its first authenticated 200,
what it weighs then, and what its imports cost; against functions-framework's hello, which is
started and asked in the same way: by the same server, on threads or under gevent. From an
environment as the image has it: no tools, compiled.

A start is short and this machine is not alone, so what counts is the quickest of several; and
beside the time there is what the processors were busy for, which waiting does not change."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import psutil

from bench.rows import Row
from free_port import free_port
from live_stack import running_stack
from rdev.config import SOURCE_ROOT
from rdev.platform.function import serving

STARTS = 7
WEIGHED = 3
TESTS = Path(__file__).parents[1]
GOAL, GOAL_S, GOAL_MEMORY, GOAL_IMPORTS = 2.5, 0.8, 2.2, 2.5
ASKED = {
    "keys": "/keys",
    "projects": "/projects",
    "exec": "/queue",
    "events": "/projects/demo/events",
    "webhooks": "/webhooks",
    "audit": "/audit",
    "system": "/openapi.json",
}
HELLO = ("-m", "bench.cold_hello")
FUNCTION = ("-m", "rdev.platform.function")


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="rdev-b-") as folder, running_stack() as stack:
        python = _as_in_the_image(Path(folder))
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOST": "127.0.0.1",
            "PYTHONPATH": str(TESTS),
            "PYDANTIC_DISABLE_PLUGINS": "__all__",
            **_stores(stack.part("functions").pid),
        }
        headers = {"X-API-Key": stack.key("admin").secret or ""}
        for name, path in ASKED.items():
            own = {**environment, "FUNCTION_TARGET": name}
            alike = {**environment, **({"HELLO_GEVENT": "1"} if serving(name).gevent else {})}
            hello, function, weights, busy = [], [], ([], []), ([], [])
            for number in range(STARTS):
                for words, where, asked, seconds, weight, cpu in (
                    (HELLO, alike, "/", hello, weights[0], busy[0]),
                    (FUNCTION, own, path, function, weights[1], busy[1]),
                ):
                    with _started([str(python), *words], where, asked, headers) as (took_s, pid):
                        seconds.append(took_s)
                        cpu.append(_busy_ms(pid))
                        if number < WEIGHED:
                            weight.append(_pss_mb(pid))
            reference_ms, ours_ms = min(hello) * 1000, min(function) * 1000
            yield Row(f"cold start of {name}", reference_ms, ours_ms, "ms", GOAL, at_most=True)
            yield Row(f"the same of {name}, busy", min(busy[0]), min(busy[1]), "ms")
            if ours_ms > GOAL_S * 1000:
                print(f"{name}: above {GOAL_S} s", file=sys.stderr)
            memory = (min(weights[0]), min(weights[1]))
            yield Row(f"memory of {name}, idle", *memory, "MB", GOAL_MEMORY, at_most=True)
        reference = _imports(python, "from bench.cold_hello import load; load()", environment)
        for name in ASKED:
            code = f"from rdev.platform.gateway import load_function; load_function({name!r})"
            ours = _imports(python, code, {**environment, "FUNCTION_TARGET": name})
            print(f"{name}: {_heaviest(ours)}", file=sys.stderr)
            totals = (_total_ms(reference), _total_ms(ours))
            yield Row(f"imports of {name}", *totals, "ms", GOAL_IMPORTS, at_most=True)


def _as_in_the_image(folder: Path) -> Path:
    """Its Python: an environment by the lock file, without tools, with every .pyc."""
    uv = Path(sys.executable).with_name("uv")
    subprocess.run(
        [uv, "sync", "--quiet", "--frozen", "--no-dev", "--project", SOURCE_ROOT],
        env={
            **os.environ,
            "UV_COMPILE_BYTECODE": "1",
            "UV_PROJECT_ENVIRONMENT": str(folder / "venv"),
            "UV_PYTHON": sys.executable,
        },
        check=True,
    )
    python = folder / "venv/bin/python"
    for place in ("shared", "functions", "tests/bench"):
        subprocess.run([python, "-m", "compileall", "-q", SOURCE_ROOT / place], check=True)
    subprocess.run([python, "-m", "rdev.http.openapi"], check=True)
    return python


def _stores(pid: int) -> dict[str, str]:
    """As a function of the running stack has them."""
    return {
        name: value
        for name, value in psutil.Process(pid).environ().items()
        if name.startswith("RDEV_") and name != "RDEV_LISTEN_FD"
    }


@contextmanager
def _started(
    command: Sequence[str], environment: dict[str, str], path: str, headers: dict[str, str]
) -> Iterator[tuple[float, int]]:
    port = free_port()
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=SOURCE_ROOT, env={**environment, "PORT": str(port)}, start_new_session=True
    )
    try:
        while _status(port, path, headers) != 200:
            if process.poll() is not None or time.perf_counter() - began > 60:
                raise RuntimeError(f"{' '.join(command)} does not answer")
        yield time.perf_counter() - began, process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _status(port: int, path: str, headers: dict[str, str]) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    except OSError:
        time.sleep(0.002)
        return 0
    finally:
        connection.close()


def _busy_ms(pid: int) -> float:
    """For how long a processor was master's or worker's so far."""
    master = psutil.Process(pid)
    times = [each.cpu_times() for each in (master, *master.children(recursive=True))]
    return sum(each.user + each.system for each in times) * 1000


def _pss_mb(pid: int) -> float:
    """Of master and worker; what they share counts once."""
    master = psutil.Process(pid)
    each = [master, *master.children(recursive=True)]
    return sum(process.memory_full_info().pss for process in each) / 1e6


def _imports(python: Path, code: str, environment: dict[str, str]) -> list[tuple[str, int]]:
    """Every module with the microseconds of its own; of the quickest of several times."""
    times = [_imported(python, code, environment) for _ in range(STARTS)]
    return min(times, key=_total_ms)


def _imported(python: Path, code: str, environment: dict[str, str]) -> list[tuple[str, int]]:
    done = subprocess.run(
        [python, "-X", "importtime", "-c", code],
        env=environment,
        cwd=SOURCE_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.findall(r"(?m)^import time: +(\d+) \| +\d+ \| +(\S+)$", done.stderr)
    return [(name, int(own)) for own, name in found]


def _total_ms(modules: list[tuple[str, int]]) -> float:
    return sum(own for _, own in modules) / 1000


def _heaviest(modules: list[tuple[str, int]]) -> str:
    """The packages that cost most."""
    packages: dict[str, int] = {}
    for name, own in modules:
        top = name.partition(".")[0]
        packages[top] = packages.get(top, 0) + own
    ranked = sorted(packages.items(), key=lambda each: -each[1])[:8]
    return ", ".join(f"{name} {own / 1000:.0f} ms" for name, own in ranked)
