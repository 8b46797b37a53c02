"""A whole `rdev up` for tests: a process of its own, in a short folder, on a free port.

It always ends: by SIGTERM, and what is left after that by KILL of what its record named and of
the commands that still carry its workspaces' folder in their environment.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from free_port import free_port
from otlp_collector import Collector
from rdev.platform.processes import Recorded, read_record
from target import Target, given_target

ENOUGH_S = 60.0


class Stack(Target):
    """What runs, where, and with which key."""

    def __init__(
        self,
        home: Path,
        port: int,
        process: "subprocess.Popen[bytes]",
        collector: Collector | None = None,
    ) -> None:
        key: str = json.loads((home / "client.json").read_text())["api_key"]
        super().__init__(f"http://127.0.0.1:{port}", key)
        self.collector = collector
        self.home = home
        self.process = process

    def workspace(self, project: str) -> Path:
        return self.home / "workspaces" / project

    def commands_left(self, project: str) -> list[str]:
        """Which command directories the supervisor still has of a project."""
        folder = self.home / "commands" / project
        names = [each.name for each in folder.iterdir()] if folder.exists() else []
        return [name for name in names if name != ".tokens"]

    def part(self, name: str) -> Recorded:
        """The process of that name, as the record has it now."""
        return next(each for each in read_record(self.record) if each.name == name)

    @property
    def record(self) -> Path:
        return self.home / "run" / "processes.json"

    def pids(self, name: str) -> list[int]:
        """A part's process and its workers. Commands and their supervisors are no part of the
        runner: they live in sessions of their own."""
        root = psutil.Process(self.part(name).pid)
        below = [child.pid for child in root.children(recursive=True)]
        return [root.pid, *(pid for pid in below if os.getpgid(pid) == root.pid)]

    def kill(self, name: str) -> None:
        """kill -9 of all of a part's processes, children first: none may notice and act."""
        for pid in reversed(self.pids(name)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def await_up(self) -> None:
        """Until /health answers again, after a part was ended."""
        wait_for(lambda: self._status("/health") == 200)

    def _status(self, path: str) -> int:
        try:
            return self.admin.get(path).status
        except OSError:
            return 0


def wait_for(condition: Callable[[], Any], timeout_s: float = ENOUGH_S) -> Any:
    """The first true value of `condition`; fails when there is none in a long time."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value


def processes_of(*command_ids: str) -> list[int]:
    """The live processes that carry one of these commands' ids in their environment."""
    return [
        pid
        for pid, environment in _environments()
        if environment.get(b"RDEV_COMMAND_ID", b"").decode() in command_ids
    ]


def kill_commands_of(home: Path) -> None:
    """End what still runs in a workspace below this folder."""
    for pid, environment in _environments():
        place = environment.get(b"HOME", b"").decode(errors="replace")
        if b"RDEV_COMMAND_ID" in environment and place.startswith(f"{home}/"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def running_stack(
    collector: Collector | None = None,
    variables: Mapping[str, str] | None = None,
    **settings: object,
) -> Iterator[Stack]:
    """`rdev up` in a new folder; `settings` as in rdev.config, each in its environment, and
    `variables` as they are. Traces go to the collector, where there is one."""
    assert given_target() is None, "mark this test own_stack: RDEV_E2E_URL names the one to ask"
    folder = Path(tempfile.mkdtemp(prefix="rdev-e2e-", dir="/tmp"))
    home, log = folder / "home", folder / "up.log"
    port = free_port()
    try:
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "rdev.cli.main", "up", "--port", str(port)],
                env=_environment(home, folder, settings) | _traced(collector) | (variables or {}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=folder,
                start_new_session=True,
            )
        try:
            _await_ready(process, log)
            yield Stack(home, port, process, collector)
        finally:
            _end(process, home)
    finally:
        data = (home / "postgres").resolve()  # as root it lies elsewhere
        shutil.rmtree(data, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def _environment(home: Path, folder: Path, settings: dict[str, object]) -> dict[str, str]:
    # Nothing of the caller's RDEV_*, which would point this stack elsewhere.
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    # Nobody is slowed down but where a test is about that.
    patient = {"RDEV_DEFAULT_RATE_LIMIT": "100000", "RDEV_FREE_FAILURES": "100000"}
    own = {"HOME": str(folder), "RDEV_HOME": str(home), **patient}
    return kept | own | {f"RDEV_{name.upper()}": str(value) for name, value in settings.items()}


def _traced(collector: Collector | None) -> dict[str, str]:
    if collector is None:
        return {}
    often = {"OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_METRIC_EXPORT_INTERVAL": "5000"}
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **often}


def _await_ready(process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + ENOUGH_S
    while b"Ctrl-C ends it" not in log.read_bytes():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def _end(process: "subprocess.Popen[bytes]", home: Path) -> None:
    recorded = read_record(home / "run" / "processes.json")
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for each in recorded:
        if each.alive:
            each.signal(signal.SIGKILL)
    kill_commands_of(home)


def _environments() -> Iterator[tuple[int, dict[bytes, bytes]]]:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # gone, or another user's
        pairs = (word.partition(b"=") for word in words)
        yield int(entry.name), {name: value for name, _, value in pairs}
