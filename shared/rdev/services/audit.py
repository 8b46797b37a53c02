"""Audit: the log read, exported and checked. Writing it is `facts`' and `denials`'."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from rdev.domain.audit import AuditRow, Verdict
from rdev.domain.audit_progress import Progress
from rdev.domain.callers import Caller
from rdev.errors import Forbidden, Unavailable
from rdev.ports import Transactions

_PAGE = 1000
_SEALED_AT_ONCE = 1000
_CHECKS_S = 5
"""Far below what any server or proxy lets a request take."""


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
    def __init__(self, transaction: Transactions, *, checks_s: float = _CHECKS_S) -> None:
        """One request checks the chain for about `checks_s` seconds."""
        self._transaction = transaction
        self._checks_s = checks_s
        self._checks = threading.Lock()

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
        self,
        by: Caller,
        *,
        known_position: int | None = None,
        known_hash: str | None = None,
        after: Progress | None = None,
    ) -> Verdict:
        """Check rows against the chain for some seconds; `after` is the `rest` of the verdict
        before. What is not sealed yet is sealed at first, so that it counts too. `known_*` is a
        head that was kept elsewhere, to be found in the chain again. Raises Forbidden for a key
        that is bound to projects, and Unavailable while another check runs in this process."""
        if not by.key.sees_every_project():
            raise Forbidden("This API key is bound to projects; the audit log's chain is of all.")
        if not self._checks.acquire(blocking=False):
            # Each holds a connection of the pool, and the processor.
            raise Unavailable(
                "The audit log is being checked already. Try again after `Retry-After`.",
                retry_after_s=_CHECKS_S,
            )
        try:
            if after is None:
                self._seal()
            with self._transaction() as tx:
                return tx.audit.verify(
                    known_position=known_position,
                    known_hash=known_hash,
                    after=after,
                    for_s=self._checks_s,
                )
        finally:
            self._checks.release()

    def _seal(self) -> None:
        until = time.monotonic() + self._checks_s
        sealed = _SEALED_AT_ONCE
        while sealed == _SEALED_AT_ONCE and time.monotonic() < until:
            with self._transaction() as tx:
                sealed = tx.audit.seal(_SEALED_AT_ONCE)

    def _onwards(
        self, by: Caller, filters: Filters, page: Sequence[AuditRow]
    ) -> Iterator[AuditRow]:
        while page:
            yield from page
            if len(page) < _PAGE:
                return
            page = self.list(by, filters, before=page[-1].seq, limit=_PAGE)
