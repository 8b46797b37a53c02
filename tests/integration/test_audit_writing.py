"""What is written into the audit log: all that a change is, no secret, and no change without it."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from key_service import NOWHERE, Clock, key_service
from rdev.adapters.postgres.database import Database
from rdev.adapters.redis.connect import connect, connect_blocking
from rdev.adapters.redis.streams import Streams
from rdev.adapters.redis.tickets import Tickets
from rdev.adapters.workspaces.local import LocalWorkspaces
from rdev.domain.addresses import parse_networks
from rdev.domain.callers import Caller
from rdev.domain.commands import Kind
from rdev.domain.key_secrets import new_secret
from rdev.services.denials import Denial, Denials
from rdev.services.exec import Exec, Wish
from rdev.services.keys import Grant, Keys
from rdev.services.projects import Projects

READER = Grant("n", ("projects:read",))


@pytest.fixture
def projects(database: Database, clock: Clock, tmp_path: Path) -> Iterator[Projects]:
    workspaces = LocalWorkspaces(tmp_path / "w", tmp_path / "c", drain_s=0.1)
    yield Projects(database.transaction, workspaces, now=clock)
    workspaces.close()


@contextmanager
def exec_over(database: Database, redis_url: str) -> Iterator[Exec]:
    with connect(redis_url) as client, connect_blocking(redis_url, block_s=2) as blocking:
        yield Exec(
            database.transaction,
            Tickets(client, blocking),
            Streams(client),
            default_timeout_s=60,
            queue_depth=100,
        )


def written(url: str) -> str:
    with psycopg.connect(url) as connection:
        rows = connection.execute("select entry from audit_log order by seq").fetchall()
    return "\n".join(entry for (entry,) in rows)


def details(database: Database, action: str) -> dict[str, Any]:
    with database.transaction() as tx:
        (row,) = tx.audit.list(before=None, limit=1, action=action)
    return dict(row.entry.details)


def test_what_looks_like_a_secret_is_masked_wherever_a_caller_put_it(
    database: Database, database_url: str, redis_url: str, keys: Keys, projects: Projects
) -> None:
    assert (first := keys.create_first())
    with database.transaction() as tx:
        admin = Caller(tx.keys.list(before=None, limit=1)[0])
    lost = new_secret()
    named, _ = keys.create(admin, Grant(f"for {lost}", ("admin",), projects=("*", lost)))
    by = Caller(named)
    projects.create(by, "demo")
    with exec_over(database, redis_url) as exec_:
        spec = {"command": f"curl -H 'X-API-Key: {lost}' x", "cwd": f"in/{lost}"}
        exec_.submit(by, "demo", Wish(Kind.SHELL, spec, env={lost: lost}))
    keys.revoke(admin, named.id)
    Denials(database.transaction, lambda _delay_s, _write: None).note(
        Denial("FORBIDDEN", None, named.id, named.name, None, "GET", "/keys")
    )
    text = written(database_url)
    assert all(word in text for word in ("key.created", "command.queued", "denied", "curl"))
    assert lost not in text
    assert first not in text


def test_a_new_key_is_told_with_all_that_it_may(
    database: Database, keys: Keys, admin: Caller
) -> None:
    networks = parse_networks(["192.0.2.0/24"])
    keys.create(
        admin,
        Grant(
            "n",
            ("projects:read",),
            projects=("web-*",),
            allowed_ips=networks,
            rate_limit=1000,
            max_concurrent=50,
        ),
    )
    told = details(database, "key.created")
    assert told["scopes"] == ["projects:read"]
    assert told["projects"] == ["web-*"]
    assert told["allowed_ips"] == ["192.0.2.0/24"]
    assert (told["rate_limit"], told["max_concurrent"]) == (1000, 50)


@pytest.mark.parametrize("policy", ["full", "hashed", "off"])
def test_what_was_run_is_kept_as_the_policy_says(
    database_url: str, redis_url: str, admin: Caller, projects: Projects, policy: str
) -> None:
    projects.create(admin, "demo")
    said = "echo 'what only its author need know'"
    database = Database(database_url, pool_size=2, timeout_s=20, audit_command_text=policy)
    try:
        with exec_over(database, redis_url) as exec_:
            exec_.submit(admin, "demo", Wish(Kind.SHELL, {"command": said}))
        told = details(database, "command.queued")
    finally:
        database.close()
    digest = hashlib.sha256(said.encode()).hexdigest()
    assert told.get("text") == (said if policy == "full" else None)
    assert told.get("text_sha256") == (digest if policy == "hashed" else None)
    assert (said in written(database_url)) == (policy == "full")


def test_a_long_text_is_cut_and_no_secret_at_its_end_with_it(
    database: Database, database_url: str, redis_url: str, admin: Caller, projects: Projects
) -> None:
    projects.create(admin, "demo")
    lost = new_secret()
    with exec_over(database, redis_url) as exec_:
        command = "x" * (16_384 - 20) + f" {lost} " + "y" * 50_000
        exec_.submit(admin, "demo", Wish(Kind.SHELL, {"command": command}))
    told = details(database, "command.queued")
    assert told["cut"] is True
    assert len(told["text"]) == 16_384
    assert lost[:20] not in written(database_url)


@contextmanager
def no_row_can_be_written(url: str) -> Iterator[None]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "create function no_room() returns trigger language plpgsql "
            "as $$ begin raise exception 'no room'; end $$"
        )
        connection.execute(
            "create trigger no_room before insert on audit_log execute function no_room()"
        )
        try:
            yield
        finally:
            connection.execute("drop function no_room cascade")


def state(url: str) -> list[tuple[Any, ...]]:
    """All that the changes below would change."""
    with psycopg.connect(url) as connection:
        return [
            connection.execute(f"select each::text from {table} each order by 1").fetchall()
            for table in ("keys", "projects", "commands")
        ]


def test_no_change_happens_without_its_row(
    database: Database,
    database_url: str,
    redis_url: str,
    keys: Keys,
    admin: Caller,
    projects: Projects,
) -> None:
    key, _ = keys.create(admin, READER)
    projects.create(admin, "demo")
    projects.create(admin, "idle")
    with exec_over(database, redis_url) as exec_:
        command = exec_.submit(admin, "demo", Wish(Kind.SHELL, {"command": "true"}))
        changes: list[Callable[[], object]] = [
            lambda: keys.create(admin, READER),
            keys.recover,
            lambda: keys.rotate(admin, key.id, overlap_s=60),
            lambda: keys.revoke(admin, key.id),
            lambda: projects.create(admin, "another"),
            lambda: projects.delete(admin, "idle"),
            lambda: exec_.submit(admin, "demo", Wish(Kind.SHELL, {"command": "true"})),
            lambda: exec_.cancel(admin, "demo", command.id),
        ]
        before = state(database_url)
        with no_row_can_be_written(database_url):
            for number, change in enumerate(changes):
                with pytest.raises(psycopg.errors.RaiseException, match="no room"):
                    change()
                assert state(database_url) == before, number
        assert not keys.get(admin, key.id).revoked_at


def test_the_first_key_needs_its_row_too(database: Database, database_url: str) -> None:
    keys = key_service(database, NOWHERE)
    with (
        no_row_can_be_written(database_url),
        pytest.raises(psycopg.errors.RaiseException, match="no room"),
    ):
        keys.create_first()
    assert keys.create_first()
