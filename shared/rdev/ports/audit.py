"""The audit log's table and its chain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rdev.domain.audit import AuditEntry, AuditRow, Verdict
    from rdev.domain.audit_progress import Progress


class AuditTable(Protocol):
    @property
    def command_text(self) -> str:
        """What is written down of what a command runs: `full`, `hashed` or `off`."""

    def append(self, entry: AuditEntry) -> None: ...
    def append_all(self, entries: Sequence[AuditEntry]) -> None: ...
    def list(
        self,
        *,
        before: int | None,
        limit: int,
        key_id: str | None = None,
        action: str | None = None,
        project_id: str | None = None,
        projects: tuple[str, ...] | None = None,
        subject: str | None = None,
        outcome: str | None = None,
        address: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Sequence[AuditRow]:
        """Newest first. `action` is exact, or like `command.*`. `projects` are the globs that bind
        the asking key; None: it sees all rows."""

    def seal(self, limit: int) -> int:
        """Chain up to so many rows that no transaction can slip behind; how many it were."""

    def verify(
        self,
        *,
        known_position: int | None = None,
        known_hash: str | None = None,
        after: Progress | None = None,
        for_s: float = math.inf,
    ) -> Verdict:
        """Every row against the chain, as far as `for_s` seconds reach; go on with `after`, the
        verdict's `rest`. Raises Conflict where it has to begin anew."""

    def cut(self, older_than_s: float, limit: int) -> int:
        """Remove sealed rows that are older, and keep the last hash; how many it were."""
