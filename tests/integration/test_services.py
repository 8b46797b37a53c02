"""Keys, projects and submissions against the real Postgres."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from key_service import Clock
from live_stack import wait_for
from rdev.adapters.postgres.database import Database
from rdev.adapters.redis.connect import connect, connect_blocking
from rdev.adapters.redis.streams import Streams
from rdev.adapters.redis.tickets import Tickets
from rdev.adapters.workspaces.local import LocalWorkspaces
from rdev.domain.callers import Caller, rdev_itself
from rdev.domain.commands import Command, Kind, Priority, Status
from rdev.domain.events import START
from rdev.domain.ids import new_id
from rdev.errors import (
    Conflict,
    NotFound,
    StoreUnavailable,
    TooManyRequests,
)
from rdev.services.claiming import Claiming
from rdev.services.exec import Exec, Wish
from rdev.services.keys import Grant, Keys
from rdev.services.projects import Projects

WISH = Wish(Kind.SHELL, {"command": "true"})
BY = rdev_itself("tests")


@pytest.fixture
def projects(database: Database, clock: Clock, tmp_path: Path) -> Iterator[Projects]:
    workspaces = LocalWorkspaces(tmp_path / "w", tmp_path / "c", drain_s=0.1)
    yield Projects(database.transaction, workspaces, now=clock)
    workspaces.close()


@pytest.fixture
def tickets(redis_url: str) -> Iterator[Tickets]:
    with connect(redis_url) as client, connect_blocking(redis_url, block_s=2) as blocking:
        yield Tickets(client, blocking)


@pytest.fixture
def exec_(database: Database, tickets: Tickets, redis_url: str) -> Iterator[Exec]:
    with connect(redis_url) as client:
        yield Exec(
            database.transaction, tickets, Streams(client), default_timeout_s=60, queue_depth=100
        )


def submit(exec_: Exec, by: Caller, wish: Wish = WISH, **more: object) -> Command:
    return exec_.submit(by, "demo", wish, **more)


def test_twenty_that_ask_at_once_for_the_first_key_get_one(keys: Keys) -> None:
    with ThreadPoolExecutor(20) as pool:
        made = list(pool.map(lambda _: keys.create_first(), range(20)))
    assert sum(secret is not None for secret in made) == 1


def test_a_project_is_made_once(projects: Projects, admin: Caller) -> None:
    projects.create(admin, "demo")
    with pytest.raises(Conflict):
        projects.create(admin, "demo")


def test_a_project_that_the_key_may_not_see_is_not_found(
    projects: Projects, keys: Keys, admin: Caller
) -> None:
    projects.create(admin, "secret")
    bound, _ = keys.create(admin, Grant("n", scopes=("projects:read",), projects=("web-*",)))
    with pytest.raises(NotFound) as hidden:
        projects.get(Caller(bound), "secret")
    with pytest.raises(NotFound) as missing:
        projects.get(Caller(bound), "missing")
    assert hidden.value.message.replace("secret", "missing") == missing.value.message


def test_pages_hold_only_what_the_key_sees(projects: Projects, keys: Keys, admin: Caller) -> None:
    for name in ("a1", "b1", "a2", "b2", "a3", "b3"):
        projects.create(admin, name)
    bound, _ = keys.create(admin, Grant("n", scopes=("projects:read",), projects=("b*",)))
    first, cursor = projects.list(Caller(bound), after=None, limit=2)
    rest, end = projects.list(Caller(bound), after=cursor, limit=2)
    assert [p.project.id for p in [*first, *rest]] == ["b1", "b2", "b3"]
    assert end is None


def test_a_project_with_an_unfinished_command_is_not_deleted(
    projects: Projects, exec_: Exec, admin: Caller
) -> None:
    projects.create(admin, "demo")
    command = submit(exec_, admin)
    with pytest.raises(Conflict, match=command.id):
        projects.delete(admin, "demo")
    exec_.cancel(admin, "demo", command.id)
    projects.delete(admin, "demo")
    assert exec_.get(admin, "demo", command.id).status is Status.CANCELLED


def test_the_same_idempotency_key_gives_the_same_command_also_at_once(
    projects: Projects, exec_: Exec, admin: Caller
) -> None:
    projects.create(admin, "demo")
    with ThreadPoolExecutor(8) as pool:
        ids = list(
            pool.map(
                lambda _: submit(exec_, admin, idempotency_key="k", request_body=b"x").id, range(8)
            )
        )
    assert len(set(ids)) == 1
    assert exec_.queue()[1]["waiting"] == 1
    with pytest.raises(Conflict):
        submit(exec_, admin, idempotency_key="k", request_body=b"y")
    other = Wish(Kind.GIT, {"args": ["status"]})
    with pytest.raises(Conflict):
        submit(exec_, admin, other, idempotency_key="k", request_body=b"x")


def test_the_hundred_and_first_waiting_command_of_a_key_is_refused(
    projects: Projects, exec_: Exec, keys: Keys, admin: Caller
) -> None:
    projects.create(admin, "demo")
    for _ in range(100):
        submit(exec_, admin)
    with pytest.raises(TooManyRequests) as caught:
        submit(exec_, admin)
    assert caught.value.retry_after_s
    other, _ = keys.create(admin, Grant("n", scopes=("admin",)))
    submit(exec_, Caller(other))


def test_the_last_place_in_a_keys_queue_is_taken_once_by_those_that_ask_at_once(
    projects: Projects, exec_: Exec, admin: Caller, database: Database, database_url: str
) -> None:
    projects.create(admin, "demo")
    for _ in range(99):
        submit(exec_, admin)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(database_url, autocommit=True) as sql:
        with database.transaction() as tx:
            assert tx.commands.waiting_of(admin.key.id, most=100) == 99
            exec_.insert(tx, admin, "demo", new_id("cmd"), WISH)
            other = pool.submit(submit, exec_, admin)
            waits = "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
            wait_for(lambda: other.done() or sql.execute(waits).fetchone())
        with pytest.raises(TooManyRequests):
            other.result()
    assert exec_.queue()[1]["waiting"] == 100


def test_each_waiting_command_is_told_its_place(
    projects: Projects, exec_: Exec, admin: Caller, redis_url: str
) -> None:
    projects.create(admin, "demo")
    commands = [submit(exec_, admin) for _ in range(3)]
    with connect(redis_url) as client:
        queued = [Streams(client).read("demo", each.id, START)[0] for each in commands]
    assert [each.type for each in queued] == ["command.queued"] * 3
    assert [json.loads(each.data)["position"] for each in queued] == [1, 2, 3]


def test_an_idempotency_key_is_good_for_a_day(
    projects: Projects, exec_: Exec, admin: Caller, database: Database, database_url: str
) -> None:
    projects.create(admin, "demo")
    first = submit(exec_, admin, idempotency_key="k", request_body=b"x")
    older = "update idempotency_keys set created_at = now() - %s::interval"
    with psycopg.connect(database_url) as sql:
        sql.execute(older, ("23 hours 59 minutes",))
    with database.transaction() as tx:
        tx.queue.forget_requests()
    assert submit(exec_, admin, idempotency_key="k", request_body=b"x").id == first.id
    with psycopg.connect(database_url) as sql:
        sql.execute(older, ("24 hours 1 minute",))
    second = submit(exec_, admin, idempotency_key="k", request_body=b"y")
    assert second.id != first.id
    with psycopg.connect(database_url) as sql:
        sql.execute(older, ("24 hours 1 minute",))
    with database.transaction() as tx:
        tx.queue.forget_requests()
    with psycopg.connect(database_url) as sql:
        assert sql.execute("select count(*) from idempotency_keys").fetchone() == (0,)


class Waiting:
    """Commands of each priority, by how long they have been waiting, and who takes them."""

    def __init__(self, exec_: Exec, keys: Keys, database: Database, database_url: str) -> None:
        self._exec = exec_
        self._keys = keys
        self._claiming = Claiming("r", database.transaction, lease_s=600, max_concurrent=1000)
        self._url = database_url

    def add(self, priority: Priority, count: int, *, since_s: float) -> None:
        key, _ = self._keys.create(BY, Grant("n", scopes=("admin",), max_concurrent=1000))
        for _ in range(count):
            submit(self._exec, Caller(key), replace(WISH, priority=priority))
        with psycopg.connect(self._url) as sql:
            sql.execute(
                "update commands set queued_at = now() - make_interval(secs => %s) "
                "where key_id = %s",
                (since_s, key.id),
            )

    def taken_until(self, priority: Priority) -> Counter[Priority]:
        """What is claimed before the first of this priority."""
        taken: Counter[Priority] = Counter()
        while True:
            claim, _ = self._claiming.next(leases_first=False)
            assert claim is not None
            if claim.command.priority is priority:
                return taken
            taken[claim.command.priority] += 1


@pytest.fixture
def waiting(
    projects: Projects,
    exec_: Exec,
    keys: Keys,
    admin: Caller,
    database: Database,
    database_url: str,
) -> Waiting:
    projects.create(admin, "demo")
    return Waiting(exec_, keys, database, database_url)


def test_low_is_served_although_what_is_high_never_ends(waiting: Waiting) -> None:
    waiting.add(Priority.HIGH, 100, since_s=0)
    waiting.add(Priority.LOW, 1, since_s=31)
    # By one claim in five: once in five thousand millions it would come after all of them.
    assert waiting.taken_until(Priority.LOW)[Priority.HIGH] < 100


def test_normal_is_not_kept_waiting_by_a_backlog_of_low(waiting: Waiting) -> None:
    waiting.add(Priority.HIGH, 100, since_s=0)
    waiting.add(Priority.LOW, 20, since_s=40)
    waiting.add(Priority.NORMAL, 1, since_s=50)
    taken = waiting.taken_until(Priority.NORMAL)
    assert taken[Priority.HIGH] < 100
    assert taken[Priority.LOW] == 0


def test_a_cancelled_command_is_never_claimed_and_says_so_in_its_stream(
    projects: Projects, exec_: Exec, admin: Caller, database: Database, redis_url: str
) -> None:
    projects.create(admin, "demo")
    command = submit(exec_, admin)
    assert exec_.cancel(admin, "demo", command.id).status is Status.CANCELLED
    assert exec_.cancel(admin, "demo", command.id).status is Status.CANCELLED
    with database.transaction() as tx:
        assert not tx.queue.claim(Priority.NORMAL, runner="r", lease_s=10, max_concurrent=5)
    with connect(redis_url) as client:
        assert Streams(client).tail("demo", command.id).finished


def test_a_projects_own_limit_holds_for_all_keys_at_once(
    projects: Projects, exec_: Exec, keys: Keys, admin: Caller, database: Database
) -> None:
    projects.create(admin, "demo", max_concurrent=3)
    for _ in range(8):
        other, _ = keys.create(admin, Grant("n", scopes=("admin",)))
        submit(exec_, Caller(other))

    def claim(_: int) -> bool:
        with database.transaction() as tx:
            return bool(tx.queue.claim(Priority.NORMAL, runner="r", lease_s=10, max_concurrent=5))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, range(8))) <= 3
    while claim(0):
        pass
    assert exec_.queue()[1]["running"] == 3


def test_a_full_project_holds_up_no_other(
    projects: Projects, exec_: Exec, admin: Caller, database: Database
) -> None:
    projects.create(admin, "demo", max_concurrent=1)
    projects.create(admin, "other")
    for _ in range(3):
        submit(exec_, admin)
    last = exec_.submit(admin, "other", WISH)
    claims = []
    for _ in range(3):
        with database.transaction() as tx:
            claims.append(tx.queue.claim(Priority.NORMAL, runner="r", lease_s=10, max_concurrent=5))
    assert claims[1] is not None
    assert claims[1].command.id == last.id
    assert claims[2] is None


def test_a_submission_is_accepted_while_redis_is_away(
    projects: Projects, admin: Caller, database: Database, tmp_path: Path
) -> None:
    projects.create(admin, "demo")
    nowhere = f"unix://{tmp_path}/no.sock"
    with connect(nowhere, timeout_s=1) as client:
        exec_ = Exec(
            database.transaction,
            Tickets(client, client),
            Streams(client),
            default_timeout_s=60,
            queue_depth=100,
        )
        command = submit(exec_, admin)
    assert exec_.get(admin, "demo", command.id).status is Status.QUEUED


def test_a_database_that_is_gone_is_unavailable_within_its_limit(tmp_path: Path) -> None:
    database = Database(f"postgresql:///x?host={tmp_path}", pool_size=1, timeout_s=0.5)
    try:
        with pytest.raises(StoreUnavailable):
            database.ping(0.5)
        with pytest.raises(StoreUnavailable):
            database.transaction().__enter__()
    finally:
        database.close()


def test_env_and_stdin_are_erased_at_the_end(
    projects: Projects, exec_: Exec, admin: Caller, database: Database
) -> None:
    projects.create(admin, "demo")
    wish = Wish(Kind.SHELL, {"command": "true"}, env={"TOKEN": "hunter2"}, stdin=b"hunter2")
    command = submit(exec_, admin, wish)
    exec_.cancel(admin, "demo", command.id)
    with database._pool.connection() as connection:
        row = connection.execute("select c::text as c from commands c").fetchone()
    assert row is not None
    assert "hunter2" not in row["c"]
