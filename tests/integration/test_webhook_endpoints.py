"""Endpoints against the real Postgres: what each is told of, who sees it, and what is kept."""

import fnmatch
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from rdev.domain.callers import Caller
from rdev.domain.webhooks import State, pattern_of
from rdev.errors import Forbidden, InvalidRequest, NotFound
from rdev.services.webhooks import EndpointWish
from webhook_world import BY, World, now, until, webhook_world


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with webhook_world(database_url) as world:
        yield world


def test_what_is_rolled_back_is_told_to_nobody(world: World) -> None:
    world.webhooks.create(BY, EndpointWish(url="https://example.com/"))

    def change_and_fail() -> None:
        with world.database.transaction() as tx:
            assert tx.outbox.add("key.created", {}) == 1
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        change_and_fail()
    assert world.ask("select count(*) from webhook_events") == 0
    assert world.ask("select count(*) from webhook_deliveries") == 0


def test_without_an_endpoint_that_takes_it_an_event_is_not_kept(world: World) -> None:
    world.tell()
    world.webhooks.create(BY, EndpointWish(url="https://example.com/", events=("command.*",)))
    world.tell()
    assert world.ask("select count(*) from webhook_events") == 0


@pytest.mark.parametrize(
    ("events", "projects", "kind", "project", "takes"),
    [
        (("*",), ("*",), "command.finished", "demo", True),
        (("command.*",), ("*",), "command.queued", "demo", True),
        (("command.*",), ("*",), "key.created", None, False),
        (("*.created", "test"), ("*",), "project.created", "demo", True),
        (("command.finished",), ("*",), "command.finishedx", "demo", False),
        (("command.*",), ("*",), "commandXfinished", "demo", False),
        (("*",), ("demo", "web-*"), "command.queued", "web-1", True),
        (("*",), ("demo", "web-*"), "command.queued", "demo2", False),
        (("*",), ("demo",), "key.created", None, False),
    ],
)
def test_an_endpoint_takes_what_its_globs_stand_for(
    world: World,
    events: tuple[str, ...],
    projects: tuple[str, ...],
    kind: str,
    project: str | None,
    takes: bool,
) -> None:
    world.webhooks.create(
        BY, EndpointWish(url="https://example.com/", events=events, projects=projects)
    )
    with world.database.transaction() as tx:
        assert tx.outbox.add(kind, {}, project_id=project) == takes


def test_any_glob_means_to_postgres_what_it_means_to_keys(world: World) -> None:
    """A pattern that Postgres refused would break every transaction that has news."""
    random.seed(5)
    letters = "ab-[]!*?"
    globs = ["".join(random.choices(letters, k=random.randint(1, 8))) for _ in range(3000)]
    names = ["".join(random.choices("abc-", k=random.randint(1, 5))) for _ in globs]
    with psycopg.connect(world.database_url) as connection:
        rows = connection.execute(
            "select name ~ pattern from unnest(%s::text[], %s::text[]) _ (name, pattern)",
            (names, [pattern_of((glob,)) for glob in globs]),
        ).fetchall()
    wrong = [
        (glob, name)
        for glob, name, (found,) in zip(globs, names, rows, strict=True)
        if found is not fnmatch.fnmatchcase(name, glob)
    ]
    assert not wrong


def test_a_secret_that_is_in_use_is_no_new_one(world: World) -> None:
    endpoint, secret = world.webhooks.create(BY, EndpointWish(url="https://example.com/"))
    with pytest.raises(InvalidRequest, match="in use"):
        world.webhooks.rotate(BY, endpoint.id, secret=secret, overlap_s=0)


def test_a_key_bound_to_projects_sees_and_makes_only_endpoints_within_them(world: World) -> None:
    bound = Caller(replace(BY.key, projects=("demo", "web-*")))
    everywhere, _ = world.webhooks.create(BY, EndpointWish(url="https://example.com/"))
    inside, _ = world.webhooks.create(
        bound, EndpointWish(url="https://example.com/", projects=("demo",))
    )
    with world.database.transaction() as tx:
        assert tx.outbox.add("command.queued", {}, project_id="demo") == 2
    assert [each.id for each in world.webhooks.list(bound, before=None, limit=10)] == [inside.id]
    seen = world.log.list(bound, before=None, limit=10)
    assert [each.endpoint_id for each in seen] == [inside.id]
    hidden = world.log.list(BY, before=None, limit=10, endpoint_id=everywhere.id)[0]
    for act in (
        lambda: world.webhooks.get(bound, everywhere.id),
        lambda: world.webhooks.delete(bound, everywhere.id),
        lambda: world.webhooks.rotate(bound, everywhere.id, secret=None, overlap_s=0),
        lambda: world.webhooks.test(bound, everywhere.id),
        lambda: world.log.list(bound, before=None, limit=1, endpoint_id=everywhere.id),
        lambda: world.log.get(bound, hidden.id),
        lambda: world.log.redeliver(bound, hidden.id),
    ):
        with pytest.raises(NotFound):
            act()
    for projects in (("*",), ("web-1",), ("demo", "other")):
        with pytest.raises(Forbidden):
            world.webhooks.create(
                bound, EndpointWish(url="https://example.com/", projects=projects)
            )
    with pytest.raises(Forbidden):
        world.webhooks.update(bound, inside.id, EndpointWish(projects=("*",)))


def test_pages_and_filters_of_deliveries(world: World) -> None:
    endpoint, _ = world.webhooks.create(BY, EndpointWish(url="https://example.com/"))
    world.tell(5)
    world.tell(2, kind="key.revoked")
    every = [each.id for each in world.log.list(BY, before=None, limit=100)]
    assert len(every) == 7
    assert every == sorted(every, reverse=True)
    paged: list[str] = []
    while page := world.log.list(BY, before=paged[-1] if paged else None, limit=3):
        paged += [each.id for each in page]
    assert paged == every

    def count(**filters: Any) -> int:
        return len(world.log.list(BY, before=None, limit=100, **filters))

    assert count(type="key.revoked") == 2
    assert count(state=State.PENDING, endpoint_id=endpoint.id) == 7
    assert count(state=State.EXHAUSTED) == 0
    assert count(since=now() - timedelta(minutes=1)) == 7
    assert count(since=now() + timedelta(minutes=1)) == 0


def test_a_deleted_endpoint_gets_nothing_more_and_its_record_is_cut(world: World) -> None:
    receiver = world.receiver()
    endpoint, _ = world.webhooks.create(BY, EndpointWish(url=receiver.url, paused=True))
    world.tell(3)
    world.webhooks.delete(BY, endpoint.id)
    assert world.log.list(BY, before=None, limit=10) == []
    with pytest.raises(NotFound):
        world.webhooks.get(BY, endpoint.id)
    world.start()
    assert world.ask("select count(*) from webhook_secrets") == 0
    until(lambda: world.ask("select count(*) from webhook_deliveries") == 0)
    assert receiver.got == []


def test_what_was_kept_for_long_enough_is_cut(world: World) -> None:
    world.webhooks.create(BY, EndpointWish(url="https://example.com/", paused=True))
    world.tell(3)
    world.start(retention_days=0.5 / 86400)
    until(lambda: world.ask("select count(*) from webhook_deliveries") == 0)
    until(lambda: world.ask("select count(*) from webhook_events") == 0)
