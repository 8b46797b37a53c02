"""Where everything lies under RDEV_HOME, and who may read it.

home/run holds the lock, the record of processes and the sockets; home/log, home/secrets,
home/valkey, home/postgres, home/workspaces, home/commands and home/archive what their names say.
As root home/postgres is a link to a folder that Postgres's own user can reach (see
`unprivileged`): whoever removes the home removes the link, and the next start makes a new, empty
database.
"""

import fcntl
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rdev.on_disk import keep_secret
from rdev.platform import unprivileged
from rdev.platform.problems import CannotStart
from rdev.platform.stores import Account

SOCKET_PATH_MAX = 103
"""Bytes of a Unix socket's path: 107 on Linux, 103 on macOS and the BSDs."""
LONGEST_SOCKET = "/metrics/functions-0.sock"
PEPPER_MIN = 32


@dataclass(frozen=True)
class Layout:
    """The folders of one home; all of them exist."""

    home: Path
    sockets: Path
    postgres: Path
    postgres_sockets: Path
    guest: Account | None

    @property
    def record(self) -> Path:
        return self.home / "run" / "processes.json"

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def valkey(self) -> Path:
        return self.home / "valkey"

    def environment(self) -> dict[str, str]:
        """What the parts need to know of it, as settings."""
        return {
            "RDEV_HOME": str(self.home),
            "RDEV_PEPPER_FILE": str(self.home / "secrets" / "pepper"),
            "RDEV_WORKSPACES_DIR": str(self.home / "workspaces"),
            "RDEV_COMMANDS_DIR": str(self.home / "commands"),
            "RDEV_ARCHIVE_URL": str(self.home / "archive"),
            "RDEV_METRICS_DIR": str(self.sockets / "metrics"),
            "RDEV_RUNNER_BIND": f"unix:{self.sockets / 'runner.sock'}",
            # Receivers on this machine, to try webhooks out with: who can start commands here
            # reaches those anyway.
            "RDEV_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8,::1/128",
            "RDEV_WEBHOOK_ALLOW_HTTP": "true",
        }


@contextmanager
def occupied(home: Path) -> Iterator[Path]:
    """Make the home if need be and hold it; no two platforms share one. Yields its full path."""
    try:
        home = home.absolute()
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home = home.resolve()
        (home / "run").mkdir(mode=0o700, exist_ok=True)
        lock = (home / "run" / "lock").open("a+")
    except OSError as exc:
        raise unusable(home, exc) from exc
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            raise CannotStart(
                f"rdev is running in {home} already (pid {pid}). "
                "End that one first, or choose another folder with RDEV_HOME."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield home


def prepare(home: Path) -> Layout:
    """Make the folders and the pepper. The home must be occupied."""
    try:
        for name in ("log", "secrets", "valkey"):
            (home / name).mkdir(mode=0o700, exist_ok=True)
        guest = unprivileged.account()
        postgres = _guests_folder(home, guest) if guest else home / "postgres"
        if not guest:
            postgres.mkdir(mode=0o700, exist_ok=True)
        _keep_pepper(home / "secrets" / "pepper", has_data=(postgres / "data").exists())
        sockets = socket_dir(home / "run")
        # Root may read nobody's sockets, nobody may not write into root's folder.
        postgres_sockets = (
            unprivileged.own_folder(postgres / "run", guest, 0o770) if guest else sockets
        )
    except OSError as exc:
        raise unusable(home, exc) from exc
    return Layout(home, sockets, postgres, postgres_sockets, guest)


def find(home: Path) -> Layout:
    """The folders of a home that is there already; makes nothing."""
    home = home.absolute().resolve()
    if not (home / "secrets" / "pepper").is_file():
        raise CannotStart(
            f"{home} is no home of rdev. Choose it with --home or RDEV_HOME, "
            "or name a database with RDEV_DATABASE_URL and its pepper with RDEV_PEPPER_FILE."
        )
    guest = unprivileged.account()
    postgres = (home / "postgres").resolve()
    sockets = socket_dir(home / "run")
    return Layout(home, sockets, postgres, postgres / "run" if guest else sockets, guest)


def unusable(home: Path, exc: OSError) -> CannotStart:
    place = exc.filename or home
    return CannotStart(
        f"The folder {home} cannot be used: {place}: {exc.strerror}. "
        "Make it writable or choose another with RDEV_HOME."
    )


def socket_dir(wanted: Path) -> Path:
    """`wanted`, or a private folder under /tmp where sockets in `wanted` would have names that
    are too long, or that Postgres would take for a list."""
    name = str(wanted)
    if len(os.fsencode(name + LONGEST_SOCKET)) <= SOCKET_PATH_MAX and not set(name) & set(",'\"@"):
        return wanted
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    short = Path("/tmp" if Path("/tmp").is_dir() else tempfile.gettempdir())  # noqa: S108
    short /= f"rdev-{os.geteuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    # /tmp is everybody's: somebody else may have been there first.
    if short.is_symlink() or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise CannotStart(
            f"{short}, where the sockets should go, belongs to somebody else. "
            "Choose a shorter folder with RDEV_HOME."
        )
    return short


def _guests_folder(home: Path, guest: Account) -> Path:
    link = home / "postgres"
    if link.is_symlink():
        target = link.resolve()
        if not target.is_dir():
            raise CannotStart(
                f"The database of this home, {target}, is gone. "
                f"Bring it back, or remove {home} to start anew."
            )
        return target
    if link.exists():
        raise CannotStart(
            f"{home} was made by another user than root. Run rdev as that user, "
            "or choose another folder with RDEV_HOME."
        )
    target = unprivileged.state_dir() / secrets.token_hex(8)
    unprivileged.own_folder(target, guest, 0o770)
    link.symlink_to(target)
    return target


def _keep_pepper(path: Path, *, has_data: bool) -> None:
    if path.exists():
        if len(path.read_text().strip()) < PEPPER_MIN:
            raise CannotStart(f"{path} is damaged. Bring it back: no API key works without it.")
        return
    if has_data:
        raise CannotStart(f"{path} is missing. Bring it back: no API key works without it.")
    # On the disk before anything else knows of it: the database may lie on another one.
    keep_secret(path, secrets.token_urlsafe(48) + "\n")
