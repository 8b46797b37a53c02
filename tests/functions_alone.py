"""Functions in processes of their own, each started by the image's last line, from zero: a process
begins when somebody asks for it, and `to_zero` ends it."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from free_port import free_port
from http_client import ENOUGH_S, Http
from key_service import key_service
from live_stack import kill_commands_of, wait_for
from rdev.adapters.postgres.database import Database
from rdev.config import SOURCE_ROOT
from rdev.platform.function import TARGETS

PEPPER = "p" * 32


class FunctionAlone:
    """One function. Its port is its own, whether it has a process or not."""

    def __init__(self, target: str, environment: Mapping[str, str], key: str, log: Path) -> None:
        self.target = target
        self.module = "rdev.platform.function"
        """What is run, as `python -m` has it."""
        self.port = free_port()
        self.log = log
        self.starts = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._leaving: subprocess.Popen[bytes] | None = None
        own = {"FUNCTION_TARGET": target, "HOST": "127.0.0.1", "PORT": str(self.port)}
        own["RDEV_RUNNER_BIND"] = f"127.0.0.1:{self.port}"  # of a resident runner
        self._environment = {**environment, **own}
        self.key = key
        self._starting = threading.Lock()

    def setting(self, name: str) -> str:
        return self._environment[name]

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def http(self) -> Http:
        """A client with the admin's key; starts the function where it is at zero."""
        self.start()
        return Http(self.port, self.key)

    def start(self) -> None:
        """Returns once it takes connections. Nothing to do where it runs."""
        self.begin()()

    def begin(self) -> Callable[[], None]:
        """Start it where it is at zero, or once it is; what this returns waits until it takes
        connections."""
        with self._starting:
            if self._leaving is not None and self._leaving is self.process:
                self._leaving.wait(ENOUGH_S)
            if not self.running:
                self._spawn()
        return lambda: wait_for(self._takes_connections)

    def _spawn(self) -> None:
        self.starts += 1
        self.process = self.program(self.module)

    def program(self, module: str) -> "subprocess.Popen[bytes]":
        """Another program of the same image, with the same settings. Its end is the caller's."""
        with self.log.open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", module],
                env=self._environment,
                cwd=SOURCE_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def to_zero(self) -> None:
        """As Knative scales down: SIGTERM, and time to end by itself."""
        self.end()()

    def end(self) -> Callable[[], None]:
        """Begin to; what this returns waits for it."""
        process = self.process if self.running else None
        if process is None:
            return lambda: None
        self._leaving = process
        process.send_signal(signal.SIGTERM)

        def ended() -> None:
            assert process.wait(ENOUGH_S) == 0, self.log.read_text()

        return ended

    def kill(self) -> None:
        """kill -9 of the whole process group: commands have groups of their own."""
        assert self.process is not None
        if self.running:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(ENOUGH_S)

    def _takes_connections(self) -> bool:
        assert self.running, self.log.read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True


@contextmanager
def functions_alone(
    database_url: str, redis_url: str, folder: Path, key: str = "", **settings: object
) -> Iterator[dict[str, FunctionAlone]]:
    """Every function and the runner by name, all at zero, over stores that are there. `key`: an
    admin's, else the database is empty and a first one is made. `settings` as in rdev.config, or
    `OTHER_NAMES` as they are. Ends what runs, commands too."""
    key = key or _first_key(database_url)
    environment = _environment(database_url, redis_url, folder) | {
        name if name.isupper() else f"RDEV_{name.upper()}": str(value)
        for name, value in settings.items()
    }
    with ExitStack() as ending:
        ending.callback(kill_commands_of, folder)
        functions = {
            target: FunctionAlone(target, environment, key, folder / f"{target}.log")
            for target in TARGETS
        }
        for each in functions.values():
            ending.callback(lambda each=each: each.process and each.kill())
        yield functions


def _environment(database_url: str, redis_url: str, folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {
        **kept,
        "HOME": str(folder),
        "RDEV_DATABASE_URL": database_url,
        "RDEV_REDIS_URL": redis_url,
        "RDEV_PEPPER": PEPPER,
        "RDEV_DEFAULT_RATE_LIMIT": "100000",
        "RDEV_FREE_FAILURES": "100000",
        "RDEV_ARCHIVE_URL": str(folder / "archive"),
        "RDEV_WORKSPACES_DIR": str(folder / "workspaces"),
        "RDEV_COMMANDS_DIR": str(folder / "commands"),
    }


def _first_key(database_url: str) -> str:
    database = Database(database_url, pool_size=1, timeout_s=10)
    try:
        secret = key_service(database, pepper=PEPPER).create_first()
        assert secret, "the database is not empty"
        return secret
    finally:
        database.close()
