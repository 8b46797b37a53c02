"""Fixtures that every suite shares: the real stores, started once a session.

`database_url` is a fresh, migrated database; `redis_url` an empty Valkey. Both are ended at the
end of the session, whatever happened in between.
"""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import redis

from fresh_database import TEMPLATE, fresh_database
from key_service import close_gates
from rdev.config import SOURCE_ROOT
from rdev.platform import unprivileged
from rdev.platform.stores import Postgres, Valkey, migrate

READY_TIMEOUT_S = 60.0

# No test asserts how long something took, by a tool neither.
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")


@pytest.fixture(scope="session")
def store_dir() -> Iterator[Path]:
    """A folder short enough for socket names; as root it belongs to Postgres's own user."""
    # Not pytest's tmp_path: that is 0700 for us, and may be too long for a socket.
    path = Path(tempfile.mkdtemp(prefix="rdev-t-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(store_dir: Path) -> Iterator[Postgres]:
    """One Postgres server for the session, with a migrated template database."""
    guest = unprivileged.account()
    folder = store_dir / "pg"
    folder.mkdir(mode=0o700)
    if guest:
        store_dir.chmod(0o711)
        unprivileged.own_folder(folder, guest)
    unsafe = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
    server = Postgres(
        folder / "data",
        folder,
        unprivileged.installation(guest),
        guest,
        options=(*unsafe, "max_connections=300", "shared_buffers=64MB"),
    )
    server.init()
    with (store_dir / "postgres.log").open("wb") as log:
        process = server.spawn(server.command(), stdout=log.fileno())
    try:
        if not server.wait_ready(READY_TIMEOUT_S, lambda: process.poll() is None):
            pytest.fail(f"Postgres: {(store_dir / 'postgres.log').read_text()}")
        migrate(server.url(TEMPLATE), SOURCE_ROOT / "migrations")
        yield server
    finally:
        end(process, signal.SIGQUIT)


@pytest.fixture(scope="session")
def postgres_url(postgres: Postgres) -> str:
    """The server's maintenance database: for making other databases."""
    return postgres.url("postgres")


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """A database of this test's own, migrated and empty."""
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture(scope="session")
def valkey(store_dir: Path) -> Iterator[Valkey]:
    """One Valkey server for the session."""
    folder = store_dir / "valkey"
    folder.mkdir(mode=0o700)
    server = Valkey(folder, folder / "valkey.sock")
    with (store_dir / "valkey.log").open("wb") as log:
        process = subprocess.Popen(
            server.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        if not server.wait_ready(READY_TIMEOUT_S, lambda: process.poll() is None):
            pytest.fail(f"Valkey: {(store_dir / 'valkey.log').read_text()}")
        yield server
    finally:
        end(process, signal.SIGKILL)


@pytest.fixture
def redis_url(valkey: Valkey) -> str:
    """The session's Valkey, emptied for this test."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    return valkey.url


@pytest.fixture(autouse=True)
def _gates_are_closed() -> Iterator[None]:
    yield
    close_gates()


def end(process: "subprocess.Popen[bytes]", how: signal.Signals) -> None:
    """End a store without mercy: its data goes away with it."""
    process.send_signal(how)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
