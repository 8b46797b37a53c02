"""Reading the audit log: pages, who sees what, and a check that counts the newest rows too."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rdev.adapters.postgres.database import Database
from rdev.domain.audit import AuditEntry
from rdev.domain.callers import Caller
from rdev.domain.keys import Key
from rdev.errors import Forbidden
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
