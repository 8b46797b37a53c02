"""Audit: the log read, exported and checked. Writing it is `facts`' and `denials`'."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from rdev.domain.audit import AuditRow, Verdict
from rdev.domain.callers import Caller
from rdev.errors import Forbidden
from rdev.ports import Transactions

_PAGE = 1000
_SEALED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Filters:
    """Which rows; None: any. `action` is one, or like `command.*`; `since` is included, `until` is
    not."""

    key_id: str | None = None
    action: str | None = None
    project_id: str | None = None
    subject: str | None = None
    outcome: str | None = None
    address: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Audit:
    def __init__(self, transaction: Transactions) -> None:
        self._transaction = transaction

    def list(
        self, by: Caller, filters: Filters, *, before: int | None, limit: int
    ) -> Sequence[AuditRow]:
        """A page, newest first. A key that is bound to projects sees the rows of its projects, and
        none that is of no project."""
        with self._transaction(reading=True) as tx:
            return tx.audit.list(
                before=before,
                limit=limit,
                projects=None if by.key.sees_every_project() else by.key.projects,
                **asdict(filters),
            )

    def export(self, by: Caller, filters: Filters, *, before: int | None) -> Iterator[AuditRow]:
        """Every such row, newest first, read page by page while it is consumed. The first page is
        read at once: what is wrong from the beginning is raised here."""
        page = self.list(by, filters, before=before, limit=_PAGE)
        return self._onwards(by, filters, page)

    def verify(
        self, by: Caller, *, known_position: int | None = None, known_hash: str | None = None
    ) -> Verdict:
        """Check every row against the chain; seal what is not sealed yet before, so that it counts
        too. `known_*` is a head that was kept elsewhere, to be found in the chain again. Raises
        Forbidden for a key that is bound to projects."""
        if not by.key.sees_every_project():
            raise Forbidden("This API key is bound to projects; the audit log's chain is of all.")
        while self._seal() == _SEALED_AT_ONCE:
            pass
        with self._transaction() as tx:
            return tx.audit.verify(known_position=known_position, known_hash=known_hash)

    def _seal(self) -> int:
        with self._transaction() as tx:
            return tx.audit.seal(_SEALED_AT_ONCE)

    def _onwards(
        self, by: Caller, filters: Filters, page: Sequence[AuditRow]
    ) -> Iterator[AuditRow]:
        while page:
            yield from page
            if len(page) < _PAGE:
                return
            page = self.list(by, filters, before=page[-1].seq, limit=_PAGE)
