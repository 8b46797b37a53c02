"""Reading the audit log: pages, who sees what, and a check that counts the newest rows too."""

import json
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdev.adapters.postgres.database import Database
from rdev.domain.audit import AuditEntry, Verdict
from rdev.domain.audit_progress import Progress
from rdev.domain.callers import Caller
from rdev.domain.keys import Key
from rdev.errors import Conflict, Forbidden, Unavailable
from rdev.services.audit import Audit, Filters

AUDITOR = Caller(Key("key-a", "auditor", "", ("audit:read",), datetime(2026, 1, 1, tzinfo=UTC)))
MANY = 2500


@pytest.fixture
def audit(database: Database) -> Audit:
    return Audit(database.transaction)


def bound(*projects: str) -> Caller:
    return replace(AUDITOR, key=replace(AUDITOR.key, projects=projects))


def write(database: Database, count: int, project_id: str | None = None) -> None:
    entries = [
        AuditEntry("project.created", "key-1", project_id=project_id, subject=f"s-{number}")
        for number in range(count)
    ]
    with database.transaction() as tx:
        tx.audit.append_all(entries)


def test_an_export_of_many_pages_has_every_row_once_newest_first(
    database: Database, audit: Audit
) -> None:
    write(database, MANY)
    subjects = [row.entry.subject for row in audit.export(AUDITOR, Filters(), before=None)]
    assert subjects == [f"s-{number}" for number in reversed(range(MANY))]


@pytest.mark.parametrize(
    "column", ["action", "key_id", "project_id", "subject", "outcome", "address"]
)
def test_a_filter_reads_no_row_that_it_leaves_out(database_url: str, column: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "insert into audit_log (at, entry) select now(), jsonb_build_object('action', 'x', "
            "'key_id', 'k', 'address', '192.0.2.1', 'project', 'p', 'subject', 's', "
            "'outcome', 'o')::text from generate_series(1, 5000)"
        )
        connection.execute("analyze audit_log")
        (plan,) = connection.execute(
            "explain (analyze, format json) select * from audit_log "
            f"where {column} = 'other' order by seq desc limit 100"
        ).fetchone()
    assert "Rows Removed by Filter" not in json.dumps(plan), plan


def test_rows_written_during_an_export_move_nothing(database: Database, audit: Audit) -> None:
    write(database, 1500)
    rows = audit.export(AUDITOR, Filters(), before=None)
    first = next(rows)
    write(database, 1200)
    assert len({first.seq, *(row.seq for row in rows)}) == 1500


def test_an_export_goes_on_from_where_it_was_left(database: Database, audit: Audit) -> None:
    write(database, 30)
    whole = list(audit.export(AUDITOR, Filters(), before=None))
    rest = list(audit.export(AUDITOR, Filters(), before=whole[9].seq))
    assert rest == whole[10:]


@pytest.mark.parametrize(
    ("projects", "seen"),
    [
        (("web",), {"web"}),
        (("web*",), {"web", "web-1"}),
        (("web-?", "api"), {"web-1", "api"}),
        (("*",), {"web", "web-1", "api", None}),
        (("nothing",), set()),
    ],
)
def test_a_bound_key_sees_the_rows_of_its_projects_alone(
    database: Database, audit: Audit, projects: tuple[str, ...], seen: set[str | None]
) -> None:
    for project in ("web", "web-1", "api", None):
        write(database, 1, project)
    by = bound(*projects)
    exported = audit.export(by, Filters(), before=None)
    assert {row.entry.project_id for row in exported} == seen
    others = audit.list(by, Filters(project_id="api"), before=None, limit=10)
    assert {row.entry.project_id for row in others} == seen & {"api"}


def test_a_check_counts_what_was_written_just_before(database: Database, audit: Audit) -> None:
    write(database, MANY)
    verdict = audit.verify(AUDITOR)
    assert (verdict.ok, verdict.checked, verdict.unsealed) == (True, MANY, 0)
    assert verdict.head_position == MANY


def test_a_head_that_was_kept_is_found_again_and_another_is_not(
    database: Database, audit: Audit
) -> None:
    write(database, 3)
    kept = audit.verify(AUDITOR)
    write(database, 3)
    known = {"known_position": kept.head_position, "known_hash": kept.head_hash}
    assert audit.verify(AUDITOR, **known).ok
    assert not audit.verify(AUDITOR, **{**known, "known_hash": "0" * 64}).ok
    assert not audit.verify(AUDITOR, **{**known, "known_position": 99}).ok


def test_a_bound_key_checks_nothing(audit: Audit) -> None:
    with pytest.raises(Forbidden):
        audit.verify(bound("web"))


def in_parts(audit: Audit, **known: object) -> tuple[Verdict, int]:
    """A check over as many requests as it takes, each with what the one before has handed out."""
    verdict, parts = audit.verify(AUDITOR, **known), 1
    while verdict.rest is not None:
        assert verdict.ok is None
        after = Progress.parse(verdict.rest.text())
        verdict, parts = audit.verify(AUDITOR, after=after, **known), parts + 1
    return verdict, parts


@pytest.fixture
def hurried(database: Database) -> Audit:
    """It checks a page a request, since its time is always over."""
    audit = Audit(database.transaction, checks_s=0)
    for _ in range(5):
        with database.transaction() as tx:
            tx.audit.append_all([AuditEntry("a", None)] * 1000)
        with database.transaction() as tx:
            tx.audit.seal(1000)
    return audit


def test_a_long_log_is_checked_over_several_requests(database: Database, hurried: Audit) -> None:
    verdict, parts = in_parts(hurried)
    whole = Audit(database.transaction, checks_s=600).verify(AUDITOR)
    assert verdict == whole
    assert (verdict.ok, verdict.checked) == (True, 5000)
    assert parts > 4
    head = {"known_position": 4500, "known_hash": "0" * 64}
    assert "rebuilt" in str(in_parts(hurried, **head)[0].problem)
    late = {"known_position": 6000, "known_hash": "0" * 64}
    assert "ends before" in str(in_parts(hurried, **late)[0].problem)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("update audit_log set entry = entry || ' ' where seq = 4321", "row 4321"),
        ("delete from audit_log where seq = 4321", "row 4321 was removed"),
        ("delete from audit_chain where seq = 4321", "position 4321 of the chain is missing"),
        ("delete from audit_chain where position > 4000", "past the chain"),
        ("update audit_log set seq = 100000 where seq = 4321", "row 4321 was removed"),
    ],
)
def test_what_is_altered_is_found_in_whichever_part_it_lies(
    hurried: Audit, database_url: str, change: str, problem: str
) -> None:
    with psycopg.connect(database_url) as owner:
        owner.execute("set session_replication_role = replica")
        owner.execute("alter table audit_log alter column seq set generated by default")
        owner.execute(change)
    verdict, parts = in_parts(hurried)
    assert not verdict.ok
    assert problem in str(verdict.problem)
    assert parts > 2


def test_a_chain_that_changes_where_a_check_stopped_is_found(
    hurried: Audit, database_url: str
) -> None:
    first = hurried.verify(AUDITOR)
    assert first.rest is not None
    with psycopg.connect(database_url) as owner:
        owner.execute("set session_replication_role = replica")
        owner.execute("update audit_chain set hash = sha256(hash)")
    verdict = hurried.verify(AUDITOR, after=first.rest)
    assert "changed meanwhile" in str(verdict.problem)


def test_a_check_that_retention_overtook_begins_anew(hurried: Audit, database_url: str) -> None:
    first = hurried.verify(AUDITOR)
    with psycopg.connect(database_url) as owner:
        owner.execute("set session_replication_role = replica")
        owner.execute("update audit_log set at = at - interval '3 days'")
        owner.execute("set session_replication_role = origin")
        owner.execute("select audit_cut(now(), 4000)")
    with pytest.raises(Conflict, match="anew"):
        hurried.verify(AUDITOR, after=first.rest)


def test_one_check_at_a_time_leaves_the_others_their_connections(
    hurried: Audit, database: Database
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @contextmanager
    def slow(*, reading: bool = False) -> Iterator[object]:
        begun.set()
        assert go_on.wait(60)
        with database.transaction(reading=reading) as tx:
            yield tx

    audit = Audit(slow, checks_s=0)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(audit.verify, AUDITOR)
        try:
            assert begun.wait(60)
            with pytest.raises(Unavailable, match="already"):
                audit.verify(AUDITOR)
        finally:
            go_on.set()
        assert first.result(60).ok is None
    assert audit.verify(AUDITOR).ok is None


@given(st.text(max_size=80) | st.binary(max_size=80).map(lambda raw: b64encode(raw).decode()))
def test_no_cursor_that_is_none_is_taken(text: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        Progress.parse(text)


@pytest.mark.parametrize(
    "state",
    [
        "[-1,%s,0,null,[],null,false,null]",
        "[9223372036854775808,%s,0,null,[],null,false,null]",
        '["1",%s,0,null,[],null,false,null]',
        "[1,%s,true,null,[],null,false,null]",
        "[1,%s,1,1e300,[],null,false,null]",
        "[1,%s,1,900000000000000000,[],null,false,null]",
        "[1,%s,1,null,[[1,1],[2,2],[3,3]],null,false,null]",
        "[1,%s,1,null,{},null,false,-1e3]",
        '[1,"00",1,null,[],null,false,null]',
        "[1,%s,1,null,[],null,null,false,null]",
    ],
)
def test_nor_one_with_numbers_that_no_check_has(state: str) -> None:
    text = (state.replace("%s", f'"{"0" * 64}"')).encode()
    with pytest.raises(ValueError, match="cursor"):
        Progress.parse(urlsafe_b64encode(text).decode())
