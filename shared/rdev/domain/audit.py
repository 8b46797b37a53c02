"""The audit log's values: what is written down, how it is read back, what a check found. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from rdev.domain.audit_progress import Progress
from rdev.domain.redaction import redact_value


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What is written down: who did what, from where, and what became of it."""

    action: str
    """command.queued, command.started, command.finished, project.created, key.revoked, denied..."""
    key_id: str | None
    key_name: str | None = None
    address: str | None = None
    request_id: str | None = None
    project_id: str | None = None
    subject: str | None = None
    """The id of what it is about."""
    outcome: str | None = None
    """A status or an error's code."""
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> Self:
        """Back from what `canonical` made."""
        return cls(
            action=stored["action"],
            key_id=stored.get("key_id"),
            key_name=stored.get("key_name"),
            address=stored.get("address"),
            request_id=stored.get("request"),
            project_id=stored.get("project"),
            subject=stored.get("subject"),
            outcome=stored.get("outcome"),
            details=stored.get("details", {}),
        )


def canonical(entry: AuditEntry, at: datetime) -> str:
    """The text to be written down: JSON with sorted names, nothing that is null, and a version of
    this format; what looks like a secret masked, whoever put it where. The database puts its own
    time in and prints it anew: the chain is made of the UTF-8 bytes that it stores."""
    named = {
        "v": 1,
        "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        "action": entry.action,
        "key_id": entry.key_id,
        "key_name": redact_value(entry.key_name),
        "address": entry.address,
        "request": entry.request_id,
        "project": entry.project_id,
        "subject": entry.subject,
        "outcome": entry.outcome,
        "details": redact_value(entry.details) or None,
    }
    given = {name: _storable(value) for name, value in named.items() if value is not None}
    return json.dumps(given, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def at_of(stored: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(stored["at"])


def _storable(value: Any) -> Any:
    """Postgres takes neither NULs nor halves of surrogate pairs."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {str(name): _storable(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable(inner) for inner in value]
    return value


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An entry as it is stored."""

    seq: int
    at: datetime
    entry: AuditEntry
    position: int | None
    """In the chain; None: not sealed yet."""
    hash: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of the log found."""

    ok: bool | None
    """None: nothing wrong so far, and there is more to check."""
    problem: str | None
    first_bad_seq: int | None
    checked: int
    unsealed: int
    head_position: int
    head_hash: str
    rest: Progress | None = None
    """From where to go on."""
