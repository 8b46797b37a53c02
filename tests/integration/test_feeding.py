"""Input between its acceptance and the workspace: rows that are each fed once, and forgotten."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from key_service import first_caller, key_service
from rdev.adapters.postgres.database import Database
from rdev.adapters.redis.connect import connect, connect_blocking
from rdev.adapters.redis.streams import Streams
from rdev.adapters.redis.tickets import Tickets
from rdev.adapters.workspaces.local import LocalWorkspaces
from rdev.domain.callers import Caller
from rdev.domain.commands import Command, Ending, Kind, Launch, Priority, Status
from rdev.errors import Conflict, InvalidRequest
from rdev.ports import Liveness
from rdev.services.exec import Exec, Wish
from rdev.services.feeding import Feeding
from rdev.services.input import Input
from rdev.services.projects import Projects

OPEN = Wish(Kind.SHELL, {"command": "cat", "stdin_open": True}, stdin=b"first ")


@pytest.fixture
def tickets(redis_url: str) -> Iterator[Tickets]:
    with connect(redis_url) as client, connect_blocking(redis_url, block_s=2) as blocking:
        yield Tickets(client, blocking)


@pytest.fixture
def workspaces(tmp_path: Path) -> Iterator[LocalWorkspaces]:
    workspaces = LocalWorkspaces(tmp_path / "w", tmp_path / "c", drain_s=0.1)
    yield workspaces
    workspaces.delete("demo", lambda: None)
    workspaces.close()


@pytest.fixture
def admin(database: Database, workspaces: LocalWorkspaces) -> Caller:
    admin = first_caller(key_service(database), database)
    Projects(database.transaction, workspaces, now=lambda: datetime.now(UTC)).create(admin, "demo")
    return admin


@pytest.fixture
def exec_(database: Database, tickets: Tickets, redis_url: str) -> Iterator[Exec]:
    with connect(redis_url) as client:
        yield Exec(
            database.transaction, tickets, Streams(client), default_timeout_s=60, queue_depth=100
        )


@pytest.fixture
def command(exec_: Exec, admin: Caller) -> Command:
    return exec_.submit(admin, "demo", OPEN)


@pytest.fixture
def input_(database: Database, tickets: Tickets) -> Input:
    return Input(database.transaction, tickets)


def rows(database_url: str) -> tuple[int, int]:
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "select (select count(*) from command_stdin), (select count(*) from command_input)"
        ).fetchone()
    assert row is not None
    return row


def test_a_limit_is_refused_where_it_cannot_be_enforced(exec_: Exec, admin: Caller) -> None:
    wish = Wish(Kind.SHELL, {"command": "true", "limits": {"memory_mb": 5, "output_mb": 1}})
    with pytest.raises(InvalidRequest, match="memory_mb is not enforceable here") as refused:
        exec_.submit(admin, "demo", wish)
    assert [detail.field for detail in refused.value.details] == ["limits.memory_mb"]


def test_senders_at_once_share_one_order(command: Command, input_: Input, admin: Caller) -> None:
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(input_.send, admin, "demo", command.id, b"12345") for _ in range(40)]
        offsets = sorted(each.result().offset for each in sent)
    assert offsets == list(range(6 + 5, 6 + 5 * 41, 5))


def test_the_end_forgets_what_waits_whoever_brings_it_about(
    database: Database, database_url: str, exec_: Exec, input_: Input, admin: Caller
) -> None:
    cancelled, finished = (exec_.submit(admin, "demo", OPEN) for _ in range(2))
    for each in (cancelled, finished):
        input_.send(admin, "demo", each.id, b"secret")
    assert rows(database_url) == (2, 2)
    exec_.cancel(admin, "demo", cancelled.id)
    assert rows(database_url) == (1, 1)
    with database.transaction() as tx:
        claim = tx.queue.claim(Priority.NORMAL, runner="r", lease_s=10, max_concurrent=5)
        assert claim is not None
    with database.transaction() as tx:
        tx.queue.finish(finished.id, claim.command.epoch, Ending(Status.SUCCEEDED))
    assert rows(database_url) == (0, 0)
    with pytest.raises(Conflict, match="ended"):
        input_.send(admin, "demo", finished.id, b"x")


def test_runners_that_feed_at_once_feed_each_byte_once(
    database: Database,
    database_url: str,
    workspaces: LocalWorkspaces,
    command: Command,
    input_: Input,
    admin: Caller,
) -> None:
    workspace = workspaces.of("demo")
    workspace.start(Launch(command.id, "demo", ("cat",), stdin=b"first ", stdin_open=True))
    over = threading.Event()
    rung = [threading.Event() for _ in range(3)]

    def feed(mine: threading.Event) -> None:
        feeding = Feeding(command, workspace, database.transaction, mine)
        while not over.wait(feeding.step()):
            mine.set()

    data = random.Random(2).randbytes(900_000)
    with ThreadPoolExecutor(3) as pool:
        feeding = [pool.submit(feed, each) for each in rung]
        try:
            for start in range(0, len(data), 9_000):
                input_.send(admin, "demo", command.id, data[start : start + 9_000])
            input_.send(admin, "demo", command.id, b"", close=True)
            for each in rung:
                each.set()
            while workspace.liveness(command.id) is not Liveness.ENDED:
                workspace.wait(command.id, 0.5)
        finally:
            over.set()
        for each in feeding:
            each.result()
    read = bytearray()
    while more := workspace.read(command.id, "stdout", len(read), 1 << 20):
        read += more
    assert bytes(read) == b"first " + data
    assert rows(database_url)[1] == 0
