"""What the database itself holds whoever writes to: who deletes, when a row was written, and what a
row has; also where whoever migrates may make no roles."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from rdev.adapters.postgres.database import Database
from rdev.config import SOURCE_ROOT
from rdev.domain.audit import AuditEntry
from rdev.platform.stores import Postgres, migrate

MIGRATIONS = SOURCE_ROOT / "migrations"
TABLES = ("audit_log", "audit_chain", "audit_unsealed", "audit_cuts")
ROLES = ("rdev_audit_writer", "rdev_audit_keeper")
AN_ENTRY = json.dumps({"action": "a", "at": "2026-01-01T00:00:00+00:00"})
INSERT = "insert into audit_log (at, entry) values (%s, %s)"


@pytest.mark.parametrize("table", TABLES)
def test_the_setting_alone_lets_nobody_delete(database_url: str, table: str) -> None:
    name = f"deleter_{uuid4().hex}"
    with psycopg.connect(database_url) as connection:
        connection.execute(f"create role {name}")
        connection.execute(f"grant all on {table} to {name}")
        connection.execute("select set_config('rdev.audit_may_delete', %s, false)", (table,))
        for whoever in (name, "rdev"):
            connection.execute(f"set role {whoever}")
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"),
                connection.transaction(),
            ):
                connection.execute(f"delete from {table}")
        connection.rollback()


@pytest.mark.parametrize("table", TABLES)
def test_no_table_or_function_of_their_own_lets_anybody_delete(
    database_url: str, table: str
) -> None:
    """Names that a trigger uses are looked up in its caller's schemas, unless it says where."""
    name = f"deleter_{uuid4().hex}"
    with psycopg.connect(database_url) as connection:
        connection.execute(f"create role {name}")
        connection.execute(f"grant all on {table} to {name}")
        connection.execute(f"create schema {name} authorization {name}")
        connection.execute(f"set role {name}")
        connection.execute(f"set search_path = {name}, public, pg_catalog")
        connection.execute("set rdev.audit_may_delete = 'x'")
        connection.execute(
            f"create function {name}.current_setting(text, boolean) returns text language sql "
            f"as $$select '{table}'$$"
        )
        connection.execute(
            "create temp table pg_proc as select 'audit_cut'::name as proname, true as prosecdef, "
            "'public'::pg_catalog.regnamespace as pronamespace, "
            "current_user::pg_catalog.regrole as proowner"
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            connection.execute(f"delete from public.{table}")


def test_no_function_that_fits_better_is_called_with_the_keepers_rights(
    database: Database, database_url: str
) -> None:
    """Until Postgres 15 everybody could create in `public`; a database of then still has it."""
    name = f"writer_{uuid4().hex}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"create role {name} in role rdev_audit_writer")
        connection.execute("grant create on schema public to public")
        connection.execute(f"set role {name}")
        connection.execute(INSERT, ("2026-01-01Z", AN_ENTRY))
        for function in ("cardinality(bigint[])", "cardinality(text[])"):
            connection.execute(
                f"create function public.{function} returns integer language plpgsql as $$ begin "
                "perform set_config('rdev.audit_may_delete', 'audit_log', true); "
                "delete from public.audit_log; return 0; end $$"
            )
        connection.execute("select public.audit_seal(10)")
        connection.execute("reset role")
        connection.execute("revoke create on schema public from public")
    with database.transaction() as tx:
        assert [row.position for row in tx.audit.list(before=None, limit=10)] == [1]


def test_no_clock_of_their_own_dates_a_row(database: Database, database_url: str) -> None:
    name = f"dater_{uuid4().hex}"
    with psycopg.connect(database_url) as connection:
        connection.execute(f"create role {name} in role rdev_audit_writer")
        connection.execute(f"create schema {name} authorization {name}")
        connection.execute(f"set role {name}")
        connection.execute(
            f"create function {name}.clock_timestamp() returns timestamptz language sql "
            "as $$select timestamptz '2020-01-01Z'$$"
        )
        connection.execute(f"set search_path = {name}, public, pg_catalog")
        connection.execute(INSERT, ("2020-01-01Z", AN_ENTRY))
        connection.execute("reset role")
        connection.execute(f"drop schema {name} cascade")
        connection.execute(f"drop role {name}")
    with database.transaction() as tx:
        (row,) = tx.audit.list(before=None, limit=10)
    assert datetime.now(UTC) - row.at < timedelta(hours=1)


def test_nobody_chooses_when_a_row_was_written(database: Database, database_url: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    with psycopg.connect(database_url) as connection:
        connection.execute("set role rdev_audit_writer")
        connection.execute(INSERT, ("2026-01-01Z", AN_ENTRY))
        connection.execute(INSERT, ("2999-01-01Z", AN_ENTRY))
    with database.transaction() as tx:
        tx.audit.append(AuditEntry("b", None))
        rows = tx.audit.list(before=None, limit=10)
    assert len(rows) == 3
    assert all(before < row.at < before + timedelta(minutes=5) for row in rows)
    with database.transaction() as tx:
        tx.audit.seal(10)
    with database.transaction() as tx:
        assert tx.audit.verify(known_position=None, known_hash=None).checked == 3


MALFORMED = [
    "no JSON",
    "[]",
    "null",
    '"at"',
    "{}",
    '{"action": 1}',
    '{"action": null}',
    '{"action": "a", "key_id": 1}',
    '{"action": "a", "project": ["x"]}',
    '{"action": "a", "subject": {"at": "x"}}',
    '{"action": "a", "details": "text"}',
]


@pytest.mark.parametrize("entry", MALFORMED)
def test_an_entry_that_readers_cannot_read_is_refused(database_url: str, entry: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("set role rdev_audit_writer")
        with pytest.raises(psycopg.Error):
            connection.execute(INSERT, ("2026-01-01Z", entry))


@pytest.fixture
def newcomer(postgres: Postgres) -> Iterator[str]:
    """An empty database whose owner may make no roles."""
    name = f"newcomer_{uuid4().hex}"
    url = postgres.url(name)
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f"create role {name} login")
        admin.execute(f"create database {name} owner {name}")
        try:
            yield url.replace("//rdev@", f"//{name}@")
        finally:
            admin.execute(f"drop database {name} with (force)")
            for role in ROLES:
                admin.execute(f"revoke {role} from {name}")
            admin.execute(f"drop role {name}")


@contextmanager
def without_roles(postgres: Postgres) -> Iterator[None]:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        for role in ROLES:
            admin.execute(f"alter role {role} rename to {role}_away")
        try:
            yield
        finally:
            for role in ROLES:
                admin.execute(f"alter role {role}_away rename to {role}")


def owner_of_the_cut(connection: psycopg.Connection) -> str:
    (owner,) = connection.execute(
        "select proowner::regrole::text from pg_proc where proname = 'audit_cut'"
    ).fetchone()
    return str(owner)


def works(url: str) -> None:
    """Writes, seals, verifies and cuts as who owns it; a delete is refused, with the setting too if
    the keeper owns the functions."""
    database = Database(url, pool_size=2, timeout_s=10)
    try:
        with database.transaction() as tx:
            tx.audit.append(AuditEntry("a", None))
        with database.transaction() as tx:
            assert tx.audit.seal(10) == 1
        with database.transaction() as tx:
            assert tx.audit.verify(known_position=None, known_hash=None).checked == 1
        with database.transaction() as tx:
            assert tx.audit.cut(0, 10) == 0
    finally:
        database.close()


@pytest.mark.parametrize("member", [True, False])
def test_roles_that_are_there_are_used_by_who_may_make_none(
    postgres: Postgres, newcomer: str, member: bool
) -> None:
    name = psycopg.conninfo.conninfo_to_dict(newcomer)["user"]
    if member:
        with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
            admin.execute(f"grant rdev_audit_keeper to {name}")
    migrate(newcomer, MIGRATIONS)
    works(newcomer)
    with psycopg.connect(newcomer) as connection:
        assert owner_of_the_cut(connection) == ("rdev_audit_keeper" if member else name)
        held = "select has_any_column_privilege('rdev_audit_writer', 'audit_log', 'INSERT')"
        assert connection.execute(held).fetchone() == (True,)
        seals = "select has_function_privilege('rdev_audit_writer', 'audit_seal(int)', 'EXECUTE')"
        assert connection.execute(seals).fetchone() == (True,)
        connection.execute("select set_config('rdev.audit_may_delete', 'audit_log', false)")
        if member:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("delete from audit_log")


def test_who_may_not_act_for_the_keeper_any_more_migrates_all_the_same(
    postgres: Postgres, newcomer: str, tmp_path: Path
) -> None:
    name = psycopg.conninfo.conninfo_to_dict(newcomer)["user"]
    for file in MIGRATIONS.glob("*.sql"):
        if file.stem < "20261125000042":
            shutil.copy(file, tmp_path)
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f"grant rdev_audit_keeper to {name}")
        migrate(newcomer, tmp_path)
        admin.execute(f"revoke rdev_audit_keeper from {name}")
    migrate(newcomer, MIGRATIONS)
    works(newcomer)


def test_without_the_roles_and_the_right_to_make_them_it_works_all_the_same(
    postgres: Postgres, newcomer: str
) -> None:
    with without_roles(postgres):
        migrate(newcomer, MIGRATIONS)
        works(newcomer)
        name = psycopg.conninfo.conninfo_to_dict(newcomer)["user"]
        with psycopg.connect(newcomer) as connection:
            assert owner_of_the_cut(connection) == name
        with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
            count = sql.SQL("select count(*) from pg_roles where rolname = any(%s)")
            assert admin.execute(count, (list(ROLES),)).fetchone() == (0,)


def test_who_may_make_roles_makes_them_and_keeps_no_more_rights_than_before(
    postgres: Postgres, newcomer: str
) -> None:
    name = psycopg.conninfo.conninfo_to_dict(newcomer)["user"]
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f"alter role {name} createrole")
    with without_roles(postgres):
        try:
            migrate(newcomer, MIGRATIONS)
            works(newcomer)
            with psycopg.connect(newcomer) as connection:
                assert owner_of_the_cut(connection) == "rdev_audit_keeper"
                can = "select pg_has_role('rdev_audit_keeper', 'SET'), has_schema_privilege("
                can += "'rdev_audit_keeper', 'public', 'CREATE')"
                assert connection.execute(can).fetchone() == (False, False)
        finally:
            with psycopg.connect(postgres.url(name), autocommit=True) as admin:
                for role in ROLES:
                    admin.execute(f"drop owned by {role}")
                    admin.execute(f"drop role {role}")
