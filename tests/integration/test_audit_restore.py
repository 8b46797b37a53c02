"""The drill of docs/audit.md, "Backups": a dump of the audit log in another server, with its owners
and without, and who may cut there."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from rdev.adapters.postgres.database import Database
from rdev.domain.audit import AuditEntry, Verdict
from rdev.platform.stores import Postgres

KEEPER = "rdev_audit_keeper"
GIVEN_BACK = (
    "grant select, insert, delete on audit_log, audit_unsealed, audit_chain, audit_cuts "
    f"to {KEEPER}",
    f"grant usage on schema public to {KEEPER}",
    f"alter function audit_seal(integer) owner to {KEEPER}",
    f"alter function audit_cut(timestamptz, integer) owner to {KEEPER}",
    "grant execute on function audit_seal(integer), audit_cut(timestamptz, integer) to rdev",
)
"""What docs/audit.md says to run where the keeper does not own its functions."""


def program(postgres: Postgres, name: str, *args: str) -> str:
    path = Path(postgres.install_dir) / "bin" / name
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    done = subprocess.run(
        [path, *args], capture_output=True, text=True, check=False, timeout=60, env=env
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def dumped(postgres: Postgres, database: Database, database_url: str, tmp_path: Path) -> Path:
    """Of a log with three sealed rows and one that is not."""
    for count in (3, 1):
        with database.transaction() as tx:
            tx.audit.append_all([AuditEntry("a", None)] * count)
        if count == 3:
            with database.transaction() as tx:
                tx.audit.seal(10)
    file = tmp_path / "rdev.dump"
    program(postgres, "pg_dump", "-Fc", "-f", str(file), database_url)
    return file


@contextmanager
def restored(postgres: Postgres, dump: Path, *options: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f'create database "{name}"')
        try:
            url = postgres.url(name)
            program(postgres, "pg_restore", *options, "--exit-on-error", "-d", url, str(dump))
            yield url
        finally:
            admin.execute(f'drop database "{name}" with (force)')


def sealed_and_verified(url: str) -> Verdict:
    database = Database(url, pool_size=2, timeout_s=20)
    try:
        with database.transaction() as tx:
            tx.audit.append(AuditEntry("after", None))
        with database.transaction() as tx:
            tx.audit.seal(10)
        with database.transaction() as tx:
            return tx.audit.verify(known_position=None, known_hash=None)
    finally:
        database.close()


def refuses_to_delete(url: str) -> bool:
    with psycopg.connect(url) as connection:
        connection.execute("set rdev.audit_may_delete = 'audit_log'")
        try:
            connection.execute("delete from audit_log")
        except psycopg.errors.InsufficientPrivilege:
            return True
        connection.rollback()
        return False


def test_with_both_roles_made_before_a_dump_is_what_it_was(
    postgres: Postgres, dumped: Path
) -> None:
    with restored(postgres, dumped) as url:
        verdict = sealed_and_verified(url)
        assert (verdict.ok, verdict.checked, verdict.unsealed) == (True, 5, 0)
        assert refuses_to_delete(url)


def test_without_owners_the_functions_are_given_to_the_keeper_afterwards(
    postgres: Postgres, dumped: Path
) -> None:
    with restored(postgres, dumped, "--no-owner", "--no-privileges") as url:
        verdict = sealed_and_verified(url)
        assert (verdict.ok, verdict.checked, verdict.unsealed) == (True, 5, 0)
        assert not refuses_to_delete(url)  # its owner might as well switch the triggers off
        with psycopg.connect(url) as connection:
            for statement in GIVEN_BACK:
                connection.execute(statement)
        assert refuses_to_delete(url)
        assert sealed_and_verified(url).ok


def test_a_user_with_the_writers_role_cuts_once_it_was_given_that_too(
    database: Database, database_url: str
) -> None:
    name, grant = (
        f"runner_{uuid4().hex}",
        "grant execute on function audit_cut(timestamptz, integer)",
    )
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(f"create role {name} login in role rdev_audit_writer")
        runner = Database(database_url.replace("//rdev@", f"//{name}@"), pool_size=1, timeout_s=20)
        try:
            with runner.transaction() as tx:
                tx.audit.append(AuditEntry("a", None))
            with runner.transaction() as tx:
                assert tx.audit.seal(10) == 1
            with pytest.raises(psycopg.errors.InsufficientPrivilege), runner.transaction() as tx:
                tx.audit.cut(0, 10)
            owner.execute(f"{grant} to {name}")
            with runner.transaction() as tx:
                assert tx.audit.cut(0, 10) == 0
            with runner.transaction() as tx:
                assert tx.audit.verify(known_position=None, known_hash=None).ok
        finally:
            runner.close()
            owner.execute(f"drop owned by {name}")
            owner.execute(f"drop role {name}")
