"""A Postgres that hangs with all its connections open: nobody waits for it for ever, everybody is
told to come back, and when it goes on it is used again."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from functions_alone import FunctionAlone, functions_alone
from http_client import ENOUGH_S, Answer
from live_stack import wait_for
from own_postgres import own_postgres
from rdev.adapters.postgres.database import Database
from rdev.config import SOURCE_ROOT
from rdev.errors import StoreUnavailable
from rdev.platform.stores import Postgres, migrate

AT_ONCE = 12
"""More than a pool has connections."""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with own_postgres("fsync=off") as server:
        migrate(server.url("rdev"), SOURCE_ROOT / "migrations")
        yield server


@contextmanager
def frozen(server: Postgres) -> Iterator[None]:
    """All of it: who connects anew is taken by the kernel, and hears nothing."""
    root = psutil.Process(int((server.data_dir / "postmaster.pid").read_text().split()[0]))
    processes = [root, *root.children(recursive=True)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def functions(
    server: Postgres, valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, FunctionAlone]]:
    folder = tmp_path_factory.mktemp("frozen")
    with functions_alone(
        server.url("rdev"), valkey.url, folder, store_timeout_s=1, database_pool_size=4
    ) as functions:
        yield functions


def storm(function: FunctionAlone, path: str) -> list[Answer]:
    answers: list[Answer] = []
    client = function.http

    def ask() -> None:
        answers.append(client.get(path))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.parametrize(
    ("noun", "path", "well"),
    [("projects", "/projects", 200), ("events", "/projects/none/events", 404)],
    ids=["threads", "gevent"],
)
def test_requests_are_told_to_come_back_and_are_answered_when_it_goes_on(
    server: Postgres, functions: dict[str, FunctionAlone], noun: str, path: str, well: int
) -> None:
    function = functions[noun]
    assert {answer.status for answer in storm(function, path)} == {well}  # connections are open
    with frozen(server):
        answers = storm(function, path)
        assert {answer.status for answer in answers} == {503}, len(answers)
        assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
        assert len(answers) == AT_ONCE
        assert function.http.get("/health").status == 200
    wait_for(lambda: {answer.status for answer in storm(function, path)} == {well})


def test_a_transaction_ends_whatever_it_waits_for(server: Postgres) -> None:
    """A statement in the middle of it, and the commit at its end."""
    database = Database(server.url("rdev"), pool_size=2, timeout_s=1)
    begun, go_on = threading.Barrier(3), threading.Event()
    ends: list[type[BaseException] | None] = []

    def stopped_in(*, the_middle: bool) -> None:
        try:
            with database.transaction() as tx:
                tx.queue.depth()
                begun.wait(ENOUGH_S)
                go_on.wait(ENOUGH_S)
                if the_middle:
                    tx.queue.depth()
        except StoreUnavailable as exc:
            ends.append(type(exc))
        else:
            ends.append(None)

    threads = [
        threading.Thread(target=stopped_in, kwargs={"the_middle": middle}, daemon=True)
        for middle in (True, False)
    ]
    try:
        for thread in threads:
            thread.start()
        begun.wait(ENOUGH_S)
        with frozen(server):
            go_on.set()
            for thread in threads:
                thread.join(ENOUGH_S)
            assert ends == [StoreUnavailable, StoreUnavailable]
        wait_for(lambda: _answers(database))
    finally:
        database.close()


def test_an_answer_that_comes_too_late_is_nobodys(server: Postgres) -> None:
    """Who uses a connection next must not get what another one asked for."""
    database = Database(server.url("rdev"), pool_size=1, timeout_s=1)
    try:
        assert _answers(database)
        with frozen(server), pytest.raises(StoreUnavailable), database.transaction() as tx:
            tx.queue.depth()
        for _ in range(5):
            wait_for(lambda: _answers(database))
    finally:
        database.close()


@pytest.mark.parametrize(("said", "idle_s"), [("", 30), ("?keepalives_idle=77", 77)])
def test_an_idle_connection_is_kept_from_being_forgotten_on_the_way(said: str, idle_s: int) -> None:
    """By the kernel, over TCP: as rdev has it, or as the URL says."""
    at = f"127.77.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"  # nobody else's
    with own_postgres("fsync=off", f"listen_addresses={at}") as server:
        migrate(server.url("rdev"), SOURCE_ROOT / "migrations")
        url = f"postgresql://rdev@{at}/rdev{said}"
        database = Database(url, pool_size=1, timeout_s=10)
        try:
            assert _answers(database)
            leads = [each for each in psutil.Process().net_connections() if each.raddr]
            (fd,) = {each.fd for each in leads if each.raddr.ip == at}
            with socket.socket(fileno=os.dup(fd)) as connection:
                assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                kept = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            assert kept == idle_s
        finally:
            database.close()


def _answers(database: Database) -> bool:
    try:
        with database.transaction(reading=True) as tx:
            return len(tx.queue.depth()) == 3
    except StoreUnavailable:
        return False
