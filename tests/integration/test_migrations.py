"""Every migration on data: up, down, and up again to the same schema."""

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from rdev.config import SOURCE_ROOT
from rdev.platform.stores import Postgres, migrate

FILES = sorted((SOURCE_ROOT / "migrations").glob("*.sql"))
A_VALUE = {
    "text": "x",
    "bytea": b"x",
    "bigint": 1,
    "integer": 1,
    "smallint": 1,
    "boolean": False,
    "jsonb": "{}",
    "ARRAY": "{}",
    "double precision": 1.0,
    "timestamp with time zone": "2026-01-01Z",
}
"""By type, for columns that must have one. The same everywhere, so that references hold."""
BY_NAME = {"kind": "shell", "priority": "normal", "entry": '{"action": "x"}', "hash": bytes(32)}


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    name = f"migrations_{uuid4().hex}"
    yield postgres.url(name)
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def down(url: str, folder: Path) -> None:
    program = shutil.which("dbmate", path=sysconfig.get_path("scripts"))
    assert program
    command = [program, "--migrations-dir", str(folder), "--no-dump-schema", "down"]
    env = {**os.environ, "DATABASE_URL": url}
    subprocess.run(command, env=env, cwd="/", capture_output=True, check=True, timeout=60)


def schema(url: str) -> set[tuple[object, ...]]:
    """Columns, indexes, constraints, triggers and functions."""
    queries = (
        "select table_name, column_name, data_type, is_nullable, column_default, "
        "is_generated from information_schema.columns where table_schema = 'public'",
        "select indexname, indexdef from pg_indexes where schemaname = 'public'",
        "select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint "
        "where connamespace = 'public'::regnamespace",
        "select tgrelid::regclass::text, tgname from pg_trigger where not tgisinternal",
        "select proname, prosrc from pg_proc where pronamespace = 'public'::regnamespace",
    )
    with psycopg.connect(url) as connection:
        return {row for query in queries for row in connection.execute(query).fetchall()}


def fill(url: str) -> dict[str, int]:
    """Put a row into every table that has none; how many each has."""
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "select relname from pg_class where relkind = 'r' and relname <> 'schema_migrations' "
            "and relnamespace = 'public'::regnamespace order by oid"
        ).fetchall()
        for (table,) in tables:
            name = sql.Identifier(table)
            if connection.execute(sql.SQL("select 1 from {} limit 1").format(name)).fetchone():
                continue
            columns = connection.execute(
                "select column_name, data_type from information_schema.columns "
                "where table_schema = 'public' and table_name = %s and is_nullable = 'NO' "
                "and column_default is null and is_identity = 'NO' and is_generated = 'NEVER'",
                (table,),
            ).fetchall()
            values = [BY_NAME.get(column, A_VALUE[kind]) for column, kind in columns]
            insert = sql.SQL("insert into {} ({}) values ({})").format(
                name,
                sql.SQL(", ").join(sql.Identifier(column) for column, _ in columns),
                sql.SQL(", ").join(sql.Placeholder() for _ in columns),
            )
            connection.execute(insert, values)
        count = sql.SQL("select count(*) from {}")
        return {
            table: connection.execute(count.format(sql.Identifier(table))).fetchone()[0]
            for (table,) in tables
        }


def test_each_goes_up_down_and_up_again_on_data(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    before, rows = None, {}
    for file in FILES:
        shutil.copy(file, folder)
        migrate(url, folder)
        after = schema(url)
        if before is not None:
            down(url, folder)
            assert schema(url) == before, file.name
            assert fill(url) == rows, f"{file.name}: its way down loses rows of others"
            migrate(url, folder)
            assert schema(url) == after, file.name
        before, rows = after, fill(url)
        assert all(rows.values()), rows
    for _ in FILES:
        down(url, folder)
    assert {row for row in schema(url) if row[0] != "schema_migrations"} <= {
        row for row in schema(url) if "schema_migrations" in str(row)
    }
    migrate(url, folder)
    assert schema(url) == before


@pytest.mark.parametrize("noun", ["allowed_ips", "audit_log", "rate_limiting", "queue", "webhooks"])
def test_what_was_asked_for_has_a_file_of_its_name(noun: str) -> None:
    assert any(file.stem.endswith(f"_{noun}") for file in FILES)
