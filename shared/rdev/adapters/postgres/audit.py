"""SQL of the audit log: append, list, seal, cut. The chain's check is in `audit_verification`."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow

from rdev.adapters.postgres.audit_verification import verify
from rdev.domain.audit import AuditEntry, AuditRow, Verdict, canonical
from rdev.domain.audit_progress import Progress
from rdev.domain.webhooks import pattern_of


class AuditRows:
    def __init__(self, connection: psycopg.Connection[DictRow], command_text: str) -> None:
        self._sql = connection
        self.command_text = command_text

    def append(self, entry: AuditEntry) -> None:
        self.append_all([entry])

    def append_all(self, entries: Sequence[AuditEntry]) -> None:
        at = datetime.now(UTC)
        self._sql.execute(
            "insert into audit_log (at, entry) select %s, entry from unnest(%s::text[]) as entry",
            (at, [canonical(entry, at) for entry in entries]),
        )

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
    ) -> list[AuditRow]:
        """Newest first."""
        globs = projects is not None and any(set("*?[") & set(each) for each in projects)
        family = action.removesuffix("*") if action and action.endswith("*") else None
        wanted = {
            "seq < %(before)s": before,
            "key_id = %(key_id)s": key_id,
            "action = %(action)s": None if family is not None else action,
            "starts_with(action, %(family)s)": family,
            "project_id = %(project_id)s": project_id,
            # By the index, where it can be.
            "project_id = any(%(names)s)": None if projects is None or globs else list(projects),
            "project_id ~ %(projects)s": pattern_of(projects) if projects and globs else None,
            "subject = %(subject)s": subject,
            "outcome = %(outcome)s": outcome,
            "address = %(address)s": address,
            "at >= %(since)s": since,
            "at < %(until)s": until,
        }
        given = {test: value for test, value in wanted.items() if value is not None}
        rows = self._sql.execute(
            f"""
            select l.seq, l.at, l.entry, c.position, c.hash
            from (select * from audit_log where {" and ".join(given) or "true"}
                order by seq desc limit %(limit)s) l
            left join audit_chain c on c.seq = l.seq order by l.seq desc
            """,  # noqa: S608 - the tests above, as they stand there
            {"limit": limit} | {_name_in(test): value for test, value in given.items()},
        )
        return [_row(row) for row in rows]

    def seal(self, limit: int) -> int:
        """Chain up to so many rows; how many it were. 0 also while somebody else is sealing."""
        row = self._sql.execute("select audit_seal(%s) as sealed", (limit,)).fetchone()
        assert row is not None
        return int(row["sealed"])

    def verify(
        self,
        *,
        known_position: int | None = None,
        known_hash: str | None = None,
        after: Progress | None = None,
        for_s: float = math.inf,
    ) -> Verdict:
        """Must be the first of its transaction."""
        return verify(self._sql, known_position, known_hash, after=after, for_s=for_s)

    def cut(self, older_than_s: float, limit: int) -> int:
        """Remove sealed rows that are older, and keep the last hash; how many it were."""
        row = self._sql.execute(
            "select cut from audit_cut(now() - make_interval(secs => %s), %s)",
            (older_than_s, limit),
        ).fetchone()
        return int(row["cut"]) if row else 0


def _name_in(test: str) -> str:
    return test.partition("%(")[2].partition(")")[0]


def _row(row: dict[str, Any]) -> AuditRow:
    return AuditRow(
        seq=row["seq"],
        at=row["at"],
        entry=AuditEntry.parse(json.loads(row["entry"])),
        position=row["position"],
        hash=row["hash"].hex() if row["hash"] else None,
    )
