"""How everything stands, counted in a real database, and asked for now and then."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from live_stack import ENOUGH_S, wait_for
from rdev.adapters.postgres.database import Database, Transaction
from rdev.domain.commands import Kind, Priority, Submission
from rdev.ports import metrics
from rdev.ports.measuring import Gauge
from rdev.services.standing import GAUGES, Standing
from rdev.services.webhooks import EndpointWish
from webhook_world import BY, World, webhook_world

NOW_S = 1_800_000_000.0


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with webhook_world(database_url) as world:
        yield world


@pytest.fixture(autouse=True)
def _watched_by_nobody_afterwards() -> Iterator[None]:
    yield
    for gauge in GAUGES:
        gauge.watch(list)


def watched(database: Database, *, every_s: float = 0) -> None:
    Standing(database.transaction, max_concurrent=2, every_s=every_s, now=lambda: NOW_S).watch()


def told(gauge: Gauge) -> dict[tuple[str, ...], float]:
    return dict(gauge.read())


def test_deliveries_and_endpoints_are_told_by_what_they_are(world: World) -> None:
    """Four endpoints are each told of two events; what is due to each depends on how it fares."""
    names = ("active", "blocked", "paused", "disabled", "deleted")
    for name in names:
        world.webhooks.create(BY, EndpointWish(url=f"https://{name}.example.com/"))
    world.tell(2)
    with psycopg.connect(world.database_url) as connection:
        for name, change in (
            ("blocked", "blocked_until = now() + interval '1 hour'"),
            ("paused", "paused = true"),
            ("disabled", "disabled_at = now(), disabled_reason = 'by_hand'"),
            ("deleted", "deleted_at = now()"),
        ):
            where = f"where url = 'https://{name}.example.com/'"
            connection.execute(f"update webhook_endpoints set {change} {where}")
        connection.execute(
            """
            update webhook_deliveries set due_at = '-infinity',
                created_at = now() - interval '90 seconds'
            where id = (select min(d.id) from webhook_deliveries d join webhook_endpoints e
                on e.id = d.endpoint_id where e.url like '%active%')
            """
        )
        # Long due, and not to be sent: its age says nothing about who sends.
        connection.execute(
            """
            update webhook_deliveries d set due_at = now() - interval '1 day',
                created_at = now() - interval '1 day'
            from webhook_endpoints e where e.id = d.endpoint_id and e.url not like '%active%'
            """
        )
    watched(world.database)
    states = {(name,): 1.0 for name in ("active", "blocked", "paused", "disabled")}
    assert told(metrics.WEBHOOK_ENDPOINTS) == states
    backlog = {("due",): 2.0, ("later",): 2.0, ("held",): 4.0}
    assert told(metrics.WEBHOOK_BACKLOG) == backlog
    assert 90 <= told(metrics.WEBHOOK_OLDEST)[()] < 3600


def test_the_queue_is_told_by_what_waits_runs_and_could_run(world: World) -> None:
    """Of a key that may run one command: what runs keeps the next one waiting, and its age says
    nothing about runners. Another key's is free, and one more waits for its workspace."""
    with psycopg.connect(world.database_url) as connection:
        for name, limit in (("busy", 1), ("idle", None)):
            connection.execute(
                "insert into keys (id, name, hint, secret_hash, scopes, max_concurrent) "
                "values (%s, %s, '', %s, '{admin}', %s)",
                (name, name, name.encode(), limit),
            )
    with world.database.transaction() as tx:
        for name, key, priority in (
            ("cmd-1", "busy", Priority.HIGH),
            ("cmd-2", "busy", Priority.NORMAL),
            ("cmd-3", "idle", Priority.LOW),
            ("cmd-4", "idle", Priority.LOW),
        ):
            spec = {"command": "true"}
            tx.commands.insert(Submission(name, "p", key, Kind.SHELL, priority, spec, 60))
        claimed = tx.queue.claim(Priority.HIGH, runner="r", lease_s=60, max_concurrent=2)
        assert claimed is not None
        tx.queue.note_sweep("")
    with psycopg.connect(world.database_url) as connection:
        connection.execute(
            "update commands set queued_at = now() - interval '1 hour' where id = 'cmd-2'"
        )
        connection.execute(
            "update commands set not_before = now() + interval '1 hour' where id = 'cmd-4'"
        )
        connection.execute("update sweeps set completed_at = now() - interval '90 seconds'")
    watched(world.database)
    standing = told(metrics.QUEUE_COMMANDS)
    assert {labels for labels, number in standing.items() if number} == {
        ("high", "running"),
        ("normal", "waiting"),
        ("low", "waiting"),
    }
    assert standing["low", "waiting"] == 2
    ages = told(metrics.QUEUE_OLDEST)
    assert ages["high",] == 0
    assert 3600 <= ages["normal",] < 7200
    assert told(metrics.QUEUE_CLAIMABLE) == {("high",): 0, ("normal",): 0, ("low",): 1}
    assert NOW_S - 3600 < told(metrics.SWEPT_AT)[()] <= NOW_S - 90


def test_an_empty_database_is_told_as_nothing_of_everything(database_url: str) -> None:
    database = Database(database_url, pool_size=1, timeout_s=10)
    try:
        watched(database)
        for gauge in GAUGES:
            assert told(gauge), gauge.name
            assert set(told(gauge).values()) == {0.0}
    finally:
        database.close()


def test_however_many_ask_the_database_is_asked_now_and_then(world: World) -> None:
    watched(world.database, every_s=3600)
    before = told(metrics.WEBHOOK_ENDPOINTS)
    world.webhooks.create(BY, EndpointWish(url="https://one.example.com/"))
    assert told(metrics.WEBHOOK_ENDPOINTS) == before
    watched(world.database, every_s=0)
    assert told(metrics.WEBHOOK_ENDPOINTS)["active",] == 1


def test_what_cannot_be_asked_is_not_told_and_not_asked_at_once_again() -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/none", pool_size=1, timeout_s=0.2)
    failed = dict(metrics.POSTGRES_UNAVAILABLE.read())[()]
    try:
        watched(nowhere, every_s=3600)
        assert [told(gauge) for gauge in GAUGES] == [{}] * len(GAUGES)
        assert dict(metrics.POSTGRES_UNAVAILABLE.read())[()] == failed + 1
    finally:
        nowhere.close()


def test_a_database_that_hangs_holds_up_no_scrape(world: World) -> None:
    """All gauges together wait for it for a moment only. What it says too late is told the next
    time."""
    hangs = threading.Event()

    @contextmanager
    def slow(*, reading: bool = False) -> Iterator[Transaction]:
        assert hangs.wait(ENOUGH_S)
        with world.database.transaction(reading=reading) as tx:
            yield tx

    Standing(slow, max_concurrent=2, every_s=0).watch()
    try:
        assert [told(gauge) for gauge in GAUGES] == [{}] * len(GAUGES)
    finally:
        hangs.set()
    wait_for(lambda: all(told(gauge) for gauge in GAUGES))
    hangs.clear()
    try:
        assert all(told(gauge) for gauge in GAUGES)
    finally:
        hangs.set()
