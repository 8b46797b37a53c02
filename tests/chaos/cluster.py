"""The real processes of a chaos run: both stores, the functions, two runners; restarted here when
they die. Everything lies in one folder and ends with it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from chaos import load
from chaos.client import PROJECT, Client
from chaos.disk import Disk
from chaos.proxy import Proxy
from free_port import free_port
from rdev.config import SOURCE_ROOT
from rdev.platform import unprivileged
from rdev.platform.parts import forget_stale_pid
from rdev.platform.stores import Postgres, Valkey, migrate

PEPPER = "chaos-chaos-chaos-chaos-chaos-chaos"
LEASE_S = 3.0
RUNNERS = ("runner-1", "runner-2")
_READY_S = 60.0


@dataclass
class Part:
    """A process that is kept alive until the end of the run."""

    name: str
    start: Callable[[], "subprocess.Popen[bytes]"]
    process: "subprocess.Popen[bytes] | None" = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def signal(self, number: signal.Signals) -> None:
        """Send it to its whole process group; its commands live in sessions of their own."""
        with self.lock, suppress(ProcessLookupError):
            if self.process is not None and self.process.poll() is None:
                os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP, and wait until nothing of it moves any more."""
        self.signal(signal.SIGSTOP)
        assert self.process is not None
        until = time.monotonic() + _READY_S
        while not _stands_still(_members(self.process.pid)):
            assert time.monotonic() < until, f"{self.name} does not stop"
            time.sleep(0.01)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)


@dataclass(frozen=True)
class Killed:
    """A command whose processes were killed by a fault before they had ended: where, and how much
    it had written by then."""

    pod: str
    stdout: int
    stderr: int


class Cluster:
    """`settings` as in rdev.config, `settings_of` by part; `fail_points` by part, and `sources`
    where a part is to run another version than this: both hold from its next start on."""

    def __init__(
        self,
        folder: Path,
        *,
        settings: dict[str, object] | None = None,
        settings_of: dict[str, dict[str, object]] | None = None,
        fail_points: dict[str, str] | None = None,
        unsafe: str = "",
    ) -> None:
        self.folder = folder
        self.fail_log = folder / "failures.log"
        self.disk = Disk(folder / "disk")
        self.fail_points = fail_points or {}
        self.sources: dict[str, Path] = {}
        self._settings = settings or {}
        self._settings_of = settings_of or {}
        self._unsafe = unsafe
        self._guest = unprivileged.account()
        self.postgres = self._make_postgres()
        self.valkey = Valkey(folder / "valkey", folder / "valkey.sock")
        self.port = free_port()
        self.proxies: dict[str, Proxy] = {}
        self.parts = {name: Part(name, start) for name, start in self._starts().items()}
        self._ending = threading.Event()

    @property
    def workspaces(self) -> Path:
        return self.disk.folder / "workspaces"

    @property
    def counter(self) -> Path:
        """Where each command adds a line at its start; not on the disk that may be full."""
        return self.folder / "counter"

    @property
    def commands(self) -> Path:
        return self.disk.folder / "commands"

    def start(self) -> None:
        (self.folder / "valkey").mkdir()
        for name in ("postgres", "valkey"):
            self._spawn(self.parts[name])
        assert self.postgres.wait_ready(_READY_S)
        assert self.valkey.wait_ready(_READY_S)
        migrate(self.postgres.url(), SOURCE_ROOT / "migrations")
        sockets = self.folder / "proxies"
        sockets.mkdir()
        real = Path(self.postgres.socket_dir) / ".s.PGSQL.5432"
        self.proxies["postgres"] = Proxy(sockets / ".s.PGSQL.5432", real)
        self.proxies["valkey"] = Proxy(sockets / "valkey.sock", self.valkey.socket_path)

    def start_rdev(self) -> None:
        for name in ("functions", *RUNNERS):
            self._spawn(self.parts[name])
        threading.Thread(target=self._keep_alive, name="keep-alive", daemon=True).start()

    def prepare_projects(self, client: Client, key: str) -> None:
        """What is to be loaded, once rdev is started."""
        self.workspaces.mkdir()
        self.workspaces.chmod(0o755)
        shutil.copy(load.__file__, self.workspaces / "load.py")
        self.counter.touch()
        status, answer = client.insist("POST", "/projects", key, {"id": PROJECT})
        assert status in (201, 409), (status, answer)

    def end(self) -> None:
        self._ending.set()
        for part in reversed(self.parts.values()):
            with part.lock:
                part.thaw()
                part.signal(signal.SIGQUIT if part.name == "postgres" else signal.SIGKILL)
                if part.process is not None:
                    part.process.wait()
        for proxy in self.proxies.values():
            proxy.close()

    def restart_quietly(self) -> None:
        """From here on nothing fails any more."""
        self.fail_points = {}
        for name in ("functions", *RUNNERS):
            self.parts[name].thaw()
            self.parts[name].kill()

    def empty_valkey(self) -> None:
        """Kill it, and let it come back without its data."""
        part = self.parts["valkey"]
        with part.lock:
            part.kill()
            assert part.process is not None
            part.process.wait()
            shutil.rmtree(self.folder / "valkey")
            (self.folder / "valkey").mkdir()
            self._spawn(part)

    def starts(self) -> Counter[str]:
        """How often each command began, by its tag."""
        return Counter(self.counter.read_text().split())

    def killed(self) -> dict[str, Killed]:
        """By command: on one machine faults spare the commands' processes."""
        return {}

    def processes_left(self) -> list[str]:
        return [str(pid) for pid in command_processes(self.folder)]

    def directories_left(self) -> list[str]:
        names = [entry.name for entry in self.commands.glob("*/*")]
        return [name for name in names if name != ".tokens"]

    def failures(self) -> list[str]:
        """The fail points that were reached and acted on, in order."""
        return [name for _, name in self._failures()]

    def asleep_at(self, point: str) -> bool:
        """Whether a process has stopped itself at this fail point, and so can be thawed."""
        pids = [int(pid) for pid, name in self._failures() if name == point]
        return bool(pids) and _stands_still(pids)

    def _failures(self) -> list[list[str]]:
        if not self.fail_log.exists():
            return []
        return [line.split() for line in self.fail_log.read_text().splitlines()]

    def _make_postgres(self) -> Postgres:
        place = self.folder / "pg"
        place.mkdir(mode=0o700)
        if self._guest:
            self.folder.chmod(0o711)
            unprivileged.own_folder(place, self._guest)
        server = Postgres(
            place / "data",
            place,
            unprivileged.installation(self._guest),
            self._guest,
            options=("fsync=off", "max_connections=200"),  # killed processes lose no pages
        )
        server.init()
        return server

    def _starts(self) -> dict[str, Callable[[], "subprocess.Popen[bytes]"]]:
        rdev = [sys.executable, "-m", "rdev.cli.main"]
        address = ["--host", "127.0.0.1", "--port", str(self.port)]
        starts: dict[str, Callable[[], subprocess.Popen[bytes]]] = {
            "postgres": self._start_postgres,
            "valkey": lambda: self._run("valkey", self.valkey.command()),
            "functions": lambda: self._run("functions", [*rdev, "functions", *address]),
        }
        for name in RUNNERS:
            starts[name] = lambda name=name: self._run(name, [*rdev, "runner"])  # type: ignore[misc]
        return starts

    def _start_postgres(self) -> "subprocess.Popen[bytes]":
        forget_stale_pid(self.postgres)
        with (self.folder / "postgres.log").open("ab") as log:
            return self.postgres.spawn(self.postgres.command(), stdout=log.fileno())

    def _run(self, name: str, argv: list[str]) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                argv,
                env=self._environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )

    def _environment(self, name: str) -> dict[str, str]:
        database, redis = self.postgres.url(), self.valkey.url
        if name == RUNNERS[1]:  # behind connections that can be cut
            database = f"postgresql://rdev@/rdev?host={self.folder}/proxies"
            redis = f"unix://{self.folder}/proxies/valkey.sock?db=0"
        settings: dict[str, object] = {
            "database_url": database,
            "redis_url": redis,
            "pepper": PEPPER,
            "workspaces_dir": self.workspaces,
            "commands_dir": self.commands,
            "archive_url": (self.folder / "archive").as_uri(),
            "runner_bind": f"unix:{self.folder}/{name}.sock",
            "lease_s": LEASE_S,
            "renew_s": 1,
            "sweep_s": 1.5,
            "kill_grace_s": 1,
            "store_timeout_s": 3,
            "fail_points": self.fail_points.get(name, ""),
            "fail_log": self.fail_log,
            "chaos": 1,
            "unsafe": self._unsafe,
            **self._settings,
            **self._settings_of.get(name, {}),
        }
        kept = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        if name in self.sources:
            kept["PYTHONPATH"] = str(self.sources[name] / "shared")
        return kept | {f"RDEV_{name.upper()}": str(value) for name, value in settings.items()}

    def _spawn(self, part: Part) -> None:
        with part.lock:
            part.process = part.start()

    def _keep_alive(self) -> None:
        while not self._ending.wait(0.05):
            for part in self.parts.values():
                with part.lock:
                    if self._ending.is_set() or part.process is None:
                        continue
                    if part.process.poll() is not None:
                        self._spawn(part)


C = TypeVar("C", bound=Cluster)


@contextmanager
def cluster(**options: object) -> Iterator[Cluster]:
    """A cluster in a folder of its own, stores up, nothing of rdev started yet."""
    with cluster_of(Cluster, **options) as running:
        yield running


@contextmanager
def cluster_of(kind: type[C], **options: object) -> Iterator[C]:
    folder = Path(tempfile.mkdtemp(prefix="rdev-c-", dir="/tmp"))
    running: C | None = None
    try:
        running = kind(folder, **options)  # type: ignore[arg-type]
        running.start()
        yield running
    finally:
        if running is not None:
            running.end()
            _end_commands(folder)
            if os.environ.get("RDEV_CHAOS_KEEP") != "1":
                running.disk.end()
        if os.environ.get("RDEV_CHAOS_KEEP") != "1":
            shutil.rmtree(folder, ignore_errors=True)


def _stands_still(pids: list[int]) -> bool:
    """Whether every thread of these processes is stopped, or dead."""
    states = set()
    for pid in pids:
        for place in Path(f"/proc/{pid}/task").glob("*/stat"):
            with suppress(OSError):
                states.add(place.read_text().rpartition(")")[2].split()[0])
    return states <= set("TtXZ")


def _members(group: int) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(place.read_text().rpartition(")")[2].split()[2]) == group:
                found.append(int(place.parent.name))
    return found


def command_processes(folder: Path) -> list[int]:
    """What is alive of commands whose workspaces lie in this folder."""
    home = f"HOME={folder}/".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "environ").read_bytes().split(b"\0")
            if any(word.startswith(home) for word in words) and any(
                word.startswith(b"RDEV_COMMAND_ID=") for word in words
            ):
                found.append(int(entry.name))
    return found


def _end_commands(folder: Path) -> None:
    deadline = time.monotonic() + 10
    while (pids := command_processes(folder)) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
