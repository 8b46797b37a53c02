"""The audit log against the real Postgres: whatever is done to it behind rdev's back is found."""

import json
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rdev.adapters.postgres.database import Database
from rdev.domain.audit import AuditEntry, Verdict

ROWS = 12


def write(database: Database, count: int, action: str = "key.created") -> None:
    for n in range(count):
        with database.transaction() as tx:
            tx.audit.append(AuditEntry(action, f"key-{n}", project_id="demo", details={"n": n}))


def seal(database: Database, limit: int = 1000) -> int:
    with database.transaction() as tx:
        return tx.audit.seal(limit)


def check(database: Database, position: int | None = None, hash_: str | None = None) -> Verdict:
    with database.transaction() as tx:
        return tx.audit.verify(known_position=position, known_hash=hash_)


def behind_its_back(url: str, *statements: str) -> None:
    """As one who owns the database, and takes the triggers away."""
    with psycopg.connect(url) as connection:
        connection.execute("set session_replication_role = replica")
        for statement in statements:
            connection.execute(statement)


def test_an_untouched_log_verifies_and_says_its_head(database: Database) -> None:
    write(database, ROWS)
    before = check(database)
    assert (before.ok, before.checked, before.unsealed) == (True, 0, ROWS)
    assert seal(database, 5) == 5
    assert seal(database) == ROWS - 5
    verdict = check(database)
    assert (verdict.ok, verdict.problem, verdict.checked) == (True, None, ROWS)
    assert (verdict.unsealed, verdict.head_position) == (0, ROWS)
    write(database, 3)
    seal(database)
    assert check(database, verdict.head_position, verdict.head_hash).ok
    assert not check(database, verdict.head_position, "00" * 32).ok
    assert not check(database, 1000, verdict.head_hash).ok


TAMPERINGS = {
    "the text": "update audit_log set entry = replace(entry, 'key-', 'kex-') where seq = {seq}",
    "one character": "update audit_log set entry = entry || ' ' where seq = {seq}",
    "the time": "update audit_log set at = at + interval '1 second' where seq = {seq}",
    "removed": "delete from audit_log where seq = {seq}",
    "removed with its link": "delete from audit_log where seq = {seq}; "
    "delete from audit_chain where seq = {seq}",
    "a link": "delete from audit_chain where seq = {seq}",
    "a hash": "update audit_chain set hash = sha256(hash) where seq = {seq}",
    "put in": "insert into audit_log (seq, at, entry) overriding system value "
    "select -{seq}, at, entry from audit_log where seq = {seq}",
    "moved": "update audit_chain set seq = -1 where seq = {seq}; "
    "update audit_chain set seq = {seq} where seq = {other}; "
    "update audit_chain set seq = {other} where seq = -1",
    "swapped": "update audit_log set entry = (select max(entry) from audit_log where seq = {other})"
    " where seq = {seq}",
}


@pytest.mark.parametrize("how", TAMPERINGS)
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_is_altered_is_found(
    database: Database, database_url: str, how: str, data: st.DataObject
) -> None:
    write(database, ROWS)
    while seal(database):
        pass
    with psycopg.connect(database_url) as connection:
        seqs = [row[0] for row in connection.execute("select seq from audit_chain order by 1")]
    seq, other = data.draw(st.permutations(seqs[-ROWS:]))[:2]
    kept = check(database)
    assert kept.ok
    behind_its_back(database_url, *TAMPERINGS[how].format(seq=seq, other=other).split("; "))
    verdict = check(database)
    if how == "removed with its link" and seq == seqs[-1]:
        # The end of a chain is missed only by who knows where it was.
        verdict = check(database, kept.head_position, kept.head_hash)
    assert not verdict.ok
    assert verdict.problem
    if how not in ("put in", "moved", "a link", "removed with its link"):
        assert verdict.first_bad_seq == seq
    behind_its_back(
        database_url,
        *(f"truncate {name}" for name in ("audit_log", "audit_chain", "audit_unsealed")),
    )


def test_a_column_that_is_not_what_its_entry_says_is_found(
    database: Database, database_url: str
) -> None:
    write(database, 3)
    seal(database)
    behind_its_back(
        database_url,
        "alter table audit_log alter column key_id drop expression",
        "update audit_log set key_id = 'key-other' where seq = (select max(seq) from audit_log)",
    )
    verdict = check(database)
    assert "a column" in str(verdict.problem)
    assert verdict.checked == 2


def _days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="microseconds")


def test_a_row_that_was_put_in_later_than_it_says_is_found(
    database: Database, database_url: str
) -> None:
    behind_its_back(database_url, _old_row(1, _days_ago(9)), _old_row(2, _days_ago(5)))
    write(database, 3)
    seal(database)
    assert check(database).ok
    behind_its_back(database_url, _old_row(3, _days_ago(3)))
    seal(database)
    verdict = check(database)
    with psycopg.connect(database_url) as connection:
        (last,) = connection.execute("select max(seq) from audit_log").fetchone() or (None,)
    assert (verdict.first_bad_seq, verdict.checked) == (last, 5)
    assert "later than it says" in str(verdict.problem)


def test_a_row_that_was_put_in_under_an_old_number_is_found(
    database: Database, database_url: str
) -> None:
    behind_its_back(database_url, _old_row(1, _days_ago(9)), _old_row(2, _days_ago(5)))
    write(database, 3)
    seal(database)
    now = _days_ago(0)
    entry = json.dumps({"action": "a", "at": now})
    behind_its_back(
        database_url,
        "insert into audit_log (seq, at, entry) overriding system value "
        f"values (-7, '{now}', '{entry}')",
        "insert into audit_unsealed values (-7)",
    )
    seal(database)
    verdict = check(database)
    assert (verdict.ok, verdict.first_bad_seq) == (False, -7)
    assert "older rows" in str(verdict.problem)


def test_a_row_that_was_removed_before_its_seal_is_missed(
    database: Database, database_url: str
) -> None:
    write(database, 3)
    behind_its_back(
        database_url, "delete from audit_log where seq = (select min(seq) from audit_log)"
    )
    assert "before it was sealed" in str(check(database).problem)


def test_rows_that_commit_out_of_order_are_sealed_once_each(
    database: Database, database_url: str
) -> None:
    def commit_late(n: int) -> None:
        with psycopg.connect(database_url) as connection:
            entry = json.dumps({"action": f"a.{n}", "at": "2026-01-01T00:00:00+00:00"})
            connection.execute(
                "insert into audit_log (at, entry) values ('2026-01-01Z', %s)", (entry,)
            )
            connection.execute("select pg_sleep(%s)", (random.uniform(0, 0.05),))

    with ThreadPoolExecutor(8) as pool:
        written = [pool.submit(commit_late, n) for n in range(60)]
        sealers = [pool.submit(seal, database, 7) for _ in range(60)]
        for each in [*written, *sealers]:
            each.result()
    while seal(database, 7):
        pass
    verdict = check(database)
    assert (verdict.ok, verdict.checked, verdict.unsealed) == (True, 60, 0)


def test_an_open_transaction_holds_up_neither_the_sealer_nor_other_rows(
    database: Database, database_url: str
) -> None:
    with psycopg.connect(database_url) as slow:
        slow.execute(
            "insert into audit_log (at, entry) values ('2026-01-01Z', %s)",
            (json.dumps({"action": "late", "at": "2026-01-01T00:00:00+00:00"}),),
        )
        write(database, 3)
        assert seal(database) == 3
        assert check(database).ok
        slow.commit()
    assert seal(database) == 1
    assert check(database).checked == 4


@pytest.mark.parametrize("table", ["audit_log", "audit_chain", "audit_unsealed", "audit_cuts"])
@pytest.mark.parametrize("verb", ["update {} set {} = {}", "delete from {}", "truncate {}"])
def test_nothing_of_it_can_be_changed(database_url: str, table: str, verb: str) -> None:
    column = {"audit_log": "at", "audit_cuts": "position"}.get(table, "seq")
    with (
        psycopg.connect(database_url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"),
    ):
        connection.execute(verb.format(table, column, column))


def test_the_functions_role_can_add_and_seal_and_nothing_else(database_url: str) -> None:
    entry = json.dumps({"action": "a", "at": "2026-01-01T00:00:00+00:00"})
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set role rdev_audit_writer")
        connection.execute("insert into audit_log (at, entry) values ('2026-01-01Z', %s)", (entry,))
        assert connection.execute("select audit_seal(10)").fetchone() == (1,)
        for forbidden in (
            "update audit_log set entry = entry",
            "delete from audit_log",
            "truncate audit_log",
            "insert into audit_chain values (99, 99, '')",
            "insert into audit_unsealed values (99)",
            "select audit_cut(now(), 10)",
            "alter table audit_log disable trigger all",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden)


def test_retention_cuts_sealed_rows_alone_and_the_chain_goes_on(
    database: Database, database_url: str
) -> None:
    write(database, ROWS)
    seal(database, 8)
    old = check(database)
    assert cut(database, 0) == 0  # nothing of the last day
    aged = (datetime.fromisoformat("2026-01-01T00:00:00+00:00") - timedelta(days=3)).isoformat()
    behind_its_back(
        database_url,
        "truncate audit_chain, audit_log, audit_unsealed",
        *(_old_row(n, aged) for n in range(1, 6)),
    )
    write(database, 4)
    while seal(database):
        pass
    whole = check(database)
    assert (whole.ok, whole.checked) == (True, 9)
    assert cut(database, 86400) == 5
    rest = check(database, whole.head_position, whole.head_hash)
    assert (rest.ok, rest.checked, rest.head_position, rest.unsealed) == (True, 4, 9, 1)
    with database.transaction() as tx:
        (told,) = tx.audit.list(before=None, limit=10, action="audit.cut")
    assert (told.entry.details["removed"], told.entry.details["position"]) == (5, 5)
    assert "retention" in str(check(database, 2, old.head_hash).problem)
    write(database, 1)
    seal(database)
    assert check(database).head_position == 11


def _old_row(n: int, at: str) -> str:
    entry = json.dumps({"action": "a", "at": at, "n": n})
    return (
        f"with row as (insert into audit_log (at, entry) values ('{at}', '{entry}') returning seq) "
        "insert into audit_unsealed select seq from row"
    )


def cut(database: Database, older_than_s: float) -> int:
    with database.transaction() as tx:
        return tx.audit.cut(older_than_s, 1000)


def test_text_that_postgres_cannot_hold_is_written_all_the_same(database: Database) -> None:
    with database.transaction() as tx:
        tx.audit.append(AuditEntry("a", None, details={"text": "nul \0, half \ud800, \\u0000"}))
    with database.transaction() as tx:
        (row,) = tx.audit.list(before=None, limit=10)
    assert row.entry.details["text"] == "nul \ufffd, half ?, \\u0000"
    seal(database)
    assert check(database).ok


def test_filters_find_what_they_name(database: Database) -> None:
    with database.transaction() as tx:
        tx.audit.append_all(
            [
                AuditEntry("command.queued", "key-1", project_id="web-1", subject="cmd-1"),
                AuditEntry("command.finished", "key-1", project_id="web-1", outcome="failed"),
                AuditEntry("key.created", "key-2", address="192.0.2.1", subject="key-3"),
            ]
        )

    def found(**filters: object) -> list[str]:
        with database.transaction() as tx:
            rows = tx.audit.list(before=None, limit=10, **filters)
        return [row.entry.action for row in rows]

    assert found() == ["key.created", "command.finished", "command.queued"]
    assert found(action="command.*") == ["command.finished", "command.queued"]
    assert found(action="command.queued") == ["command.queued"]
    assert found(key_id="key-2") == found(address="192.0.2.1") == ["key.created"]
    assert found(projects=("web-*",)) == ["command.finished", "command.queued"]
    assert found(projects=("api",)) == []
    assert found(projects=()) == []
    assert found(projects=("api", "web-1")) == ["command.finished", "command.queued"]
    assert found(outcome="failed", project_id="web-1") == ["command.finished"]
    assert found(subject="cmd-1") == ["command.queued"]
