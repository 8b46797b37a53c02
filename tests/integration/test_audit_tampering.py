"""The audit log against whoever owns the database: any column of any row of its tables, any row
put in or taken out, anywhere; what a restored dump does; what retention leaves."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rdev.adapters.postgres.database import Database
from rdev.domain.audit import AuditEntry, Verdict
from rdev.platform.stores import Postgres

ROWS = 9
WAITING = 2
TIMES = st.datetimes().map(lambda moment: moment.isoformat() + "Z")
TEXT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20
) | st.sampled_from(["", "{", "null", "[]", '"x"', "key-1", "é", "e\u0301"])
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 20)
HASHES = st.binary(max_size=40).map(lambda value: f"\\x{value.hex()}")
COLUMNS = {
    ("audit_log", "seq"): NUMBERS,
    ("audit_log", "at"): TIMES,
    ("audit_log", "entry"): TEXT,
    ("audit_log", "action"): TEXT,
    ("audit_log", "key_id"): TEXT | st.none(),
    ("audit_log", "address"): TEXT | st.none(),
    ("audit_log", "project_id"): TEXT | st.none(),
    ("audit_log", "subject"): TEXT | st.none(),
    ("audit_log", "outcome"): TEXT | st.none(),
    ("audit_chain", "position"): NUMBERS,
    ("audit_chain", "seq"): NUMBERS,
    ("audit_chain", "hash"): HASHES,
    ("audit_unsealed", "seq"): NUMBERS,
}
GENERATED = ("action", "key_id", "address", "project_id", "subject", "outcome")
ORDER = {"audit_log": "seq", "audit_chain": "position", "audit_unsealed": "seq"}
many = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def write(database: Database, count: int) -> None:
    entries = [
        AuditEntry(
            "command.queued",
            f"key-{n}",
            key_name="ci",
            address=f"192.0.2.{n}",
            project_id="demo",
            subject=f"cmd-{n}",
            outcome="queued" if n % 2 else None,
            details={"n": n, "cpu_s": 0.25, "text": "é ☃"},
        )
        for n in range(count)
    ]
    with database.transaction() as tx:
        tx.audit.append_all(entries)


def seal(database: Database) -> None:
    with database.transaction() as tx:
        tx.audit.seal(1000)


def check(database: Database, known: Verdict | None = None) -> Verdict:
    with database.transaction() as tx:
        return tx.audit.verify(
            known_position=known.head_position if known else None,
            known_hash=known.head_hash if known else None,
        )


@pytest.fixture
def filled(database: Database, database_url: str) -> tuple[Database, str]:
    """Sealed rows and some that wait; columns are made such that their owner can write them."""
    with psycopg.connect(database_url) as owner:
        for column in GENERATED:
            owner.execute(f"alter table audit_log alter column {column} drop expression")
        owner.execute("alter table audit_log alter column action drop not null")
    write(database, ROWS)
    with psycopg.connect(database_url) as owner:
        owner.execute("set session_replication_role = replica")
        owner.execute(
            """
            update audit_log set action = e ->> 'action', key_id = e ->> 'key_id',
                address = e ->> 'address', project_id = e ->> 'project',
                subject = e ->> 'subject', outcome = e ->> 'outcome'
            from (select seq as s, entry::jsonb as e from audit_log) said where s = seq
            """
        )
    with database.transaction() as tx:
        assert tx.audit.seal(ROWS - WAITING) == ROWS - WAITING
    verdict = check(database)
    assert (verdict.ok, verdict.checked, verdict.unsealed) == (True, ROWS - WAITING, WAITING)
    return database, database_url


@contextmanager
def undone(url: str) -> Iterator[psycopg.Connection]:
    """A session of the owner's without triggers. What it changes is committed for the check, and
    put back after it."""
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("set session_replication_role = replica")
        for table in ORDER:
            owner.execute(f"create table kept_{table} as table {table}")
        try:
            yield owner
        finally:
            for table in ORDER:
                owner.execute(f"truncate {table}")
                overriding = "overriding system value" if table == "audit_log" else ""
                owner.execute(f"insert into {table} {overriding} table kept_{table}")
                owner.execute(f"drop table kept_{table}")


def stands(owner: psycopg.Connection) -> list[list[tuple[object, ...]]]:
    return [owner.execute(f"table {name} order by 1").fetchall() for name in ORDER]  # type: ignore[arg-type]


def sealed_rows(owner: psycopg.Connection) -> list[int]:
    return [row[0] for row in owner.execute("select seq from audit_chain order by position")]


@many
@given(data=st.data())
def test_any_other_value_in_any_column_is_found(
    filled: tuple[Database, str], data: st.DataObject
) -> None:
    database, url = filled
    table, column = data.draw(st.sampled_from(list(COLUMNS)))
    value = data.draw(COLUMNS[(table, column)])
    key = ORDER[table]
    with undone(url) as owner:
        before = stands(owner)
        sealed = sealed_rows(owner)
        keys = [row[0] for row in owner.execute(f"select {key} from {table} order by 1")]
        chosen = data.draw(st.sampled_from(keys))
        try:
            owner.execute(f"update {table} set {column} = %s where {key} = %s", (value, chosen))
        except psycopg.Error:
            return  # not even a superuser: no such time, or a number that is taken
        if stands(owner) == before:
            return
        if table == "audit_log" and chosen not in sealed and column != "seq":
            return  # before its seal a row is protected by triggers and rights alone
        verdict = check(database)
        assert not verdict.ok
        assert verdict.problem
        if table == "audit_log" and column != "seq":
            assert verdict.first_bad_seq == chosen


@many
@given(data=st.data())
def test_rows_taken_out_put_in_or_exchanged_are_found(
    filled: tuple[Database, str], data: st.DataObject
) -> None:
    database, url = filled
    whole = check(database)
    with undone(url) as owner:
        sealed = sealed_rows(owner)
        one, other = data.draw(st.permutations(sealed))[:2]
        how = data.draw(st.sampled_from(["out", "link", "both", "in", "entries", "links"]))
        if how in ("out", "both"):
            owner.execute("delete from audit_log where seq = %s", (one,))
        if how in ("link", "both"):
            owner.execute("delete from audit_chain where seq = %s", (one,))
        if how == "in":
            owner.execute(
                "insert into audit_log (seq, at, entry, action) overriding system value "
                "select %s, at, entry, action from audit_log where seq = %s",
                (data.draw(st.integers(-5, 0) | st.integers(1000, 2000)), other),
            )
        if how == "entries":
            _exchange(owner, "audit_log", "seq", ("at", "entry", *GENERATED), one, other)
        if how == "links":
            _exchange(owner, "audit_chain", "seq", ("hash",), one, other)
        # The chain's last link is missed only by who knows that it was there.
        assert not check(database, whole).ok
        if not (one == sealed[-1] and how == "both"):
            assert not check(database).ok


def _exchange(
    owner: psycopg.Connection, table: str, key: str, columns: tuple[str, ...], one: int, other: int
) -> None:
    names = ", ".join(columns)
    owner.execute(
        f"""
        update {table} t set ({names}) = (select {names} from {table} o
            where o.{key} = case t.{key} when %(one)s then %(other)s::bigint else %(one)s end)
        where t.{key} in (%(one)s, %(other)s)
        """,  # type: ignore[arg-type]
        {"one": one, "other": other},
    )


def test_a_chain_that_was_made_anew_is_found_by_who_kept_a_head(
    database: Database, database_url: str
) -> None:
    write(database, ROWS)
    seal(database)
    kept = check(database)
    with psycopg.connect(database_url) as owner:
        owner.execute("set session_replication_role = replica")
        owner.execute("update audit_log set entry = replace(entry, 'cmd-3', 'cmd-4')")
        owner.execute("insert into audit_unsealed select seq from audit_chain")
        owner.execute("delete from audit_chain")
    seal(database)
    assert check(database).ok  # as docs/audit.md says
    verdict = check(database, kept)
    assert not verdict.ok
    assert "rebuilt" in str(verdict.problem)


def test_a_dump_in_a_new_cluster_is_sealed_and_verified_like_before(
    postgres: Postgres, database: Database, database_url: str
) -> None:
    """Transaction ids begin anew there: here they are simply others, and none of them is kept."""
    write(database, ROWS)
    seal(database)
    write(database, 3)
    before = check(database)
    dump = _program(postgres, "pg_dump", database_url, "--no-owner")
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f'create database "{name}"')
        try:
            _program(postgres, "psql", postgres.url(name), "-q", "-v", "ON_ERROR_STOP=1", text=dump)
            restored = Database(postgres.url(name), pool_size=2, timeout_s=10)
            try:
                verdict = check(restored, before)
                assert (verdict.ok, verdict.checked, verdict.unsealed) == (True, ROWS, 3)
                write(restored, 2)
                seal(restored)
                verdict = check(restored, before)
                assert (verdict.ok, verdict.checked, verdict.unsealed) == (True, ROWS + 5, 0)
            finally:
                restored.close()
        finally:
            admin.execute(f'drop database "{name}" with (force)')


def _program(postgres: Postgres, name: str, url: str, *args: str, text: str = "") -> str:
    program = Path(postgres.install_dir) / "bin" / name
    done = subprocess.run(
        [program, *args, url],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
