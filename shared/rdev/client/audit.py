"""The audit log from Python: `client.audit`."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypedDict, Unpack

from rdev.client.errors import ClientError, NotRdev
from rdev.client.transport import Attempts, Transport

_PATH = "/audit"


class AuditFilters(TypedDict, total=False):
    """Which rows. `action` may be like `command.*`; `since` and `until` are RFC 3339 times."""

    key: str | None
    action: str | None
    project: str | None
    subject: str | None
    outcome: str | None
    address: str | None
    since: str | None
    until: str | None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One thing that was done or denied."""

    seq: int
    at: str
    action: str
    key_id: str | None = None
    key_name: str | None = None
    address: str | None = None
    project: str | None = None
    subject: str | None = None
    outcome: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            seq=int(raw["seq"]),
            at=str(raw["at"]),
            action=str(raw["action"]),
            key_id=raw.get("key_id"),
            key_name=raw.get("key_name"),
            address=raw.get("address"),
            project=raw.get("project"),
            subject=raw.get("subject"),
            outcome=raw.get("outcome"),
            raw=raw,
        )


@dataclass(frozen=True, slots=True)
class ChainHead:
    """Where the chain ends. Keep it elsewhere: `str()` of it, and `parse` to have it back."""

    position: int
    hash: str

    def __str__(self) -> str:
        return f"{self.position}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError where this is no head."""
        position, colon, hash_ = text.strip().partition(":")
        if not colon or not position.isascii() or not position.isdecimal():
            raise ValueError(f"{text!r} is no head; one looks like 1042:9f86d0…")
        return cls(int(position), hash_)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of the whole log found. `first_bad_seq` names the first row that is wrong."""

    ok: bool
    problem: str | None
    first_bad_seq: int | None
    checked: int
    unsealed: int
    head: ChainHead
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        head = raw["head"]
        return cls(
            ok=bool(raw["ok"]),
            problem=raw.get("problem"),
            first_bad_seq=raw.get("first_bad_seq"),
            checked=int(raw.get("checked") or 0),
            unsealed=int(raw.get("unsealed") or 0),
            head=ChainHead(int(head["position"]), str(head["hash"])),
            raw=raw,
        )


class Audit:
    """Needs a key with `audit:read`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self, *, limit: int | None = None, **filters: Unpack[AuditFilters]
    ) -> Iterator[AuditRow]:
        """The newest `limit` rows, or all, page after page as they are read."""
        left = limit
        cursor: str | None = None
        while left is None or left > 0:
            asked = {**filters, "cursor": cursor, "limit": min(left or 1000, 1000)}
            envelope = self._transport.call("GET", _PATH, params=_given(asked), repeatable=True)
            rows = envelope.get("data") or ()
            yield from map(AuditRow.parse, rows)
            left = None if left is None else left - len(rows)
            cursor = (envelope.get("meta") or {}).get("next_cursor")
            if not cursor:
                return

    def export(self, **filters: Unpack[AuditFilters]) -> Iterator[AuditRow]:
        """Every row, newest first, as one download; taken up where it broke."""
        cursor: int | None = None
        attempts = Attempts(self._transport.patience)
        while True:
            try:
                for row in self._from(cursor, filters):
                    cursor = row.seq
                    attempts = Attempts(self._transport.patience)
                    yield row
                return
            except ClientError as exc:
                attempts.wait_or_raise(exc, repeatable=True)

    def verify(self, head: ChainHead | None = None) -> Verdict:
        """Check every row against the chain, and that the chain still holds `head`, which an
        earlier check told and which was kept elsewhere. As many requests as it takes."""
        params: dict[str, Any] = {"position": head.position, "hash": head.hash} if head else {}
        path = f"{_PATH}/verify"
        while True:
            envelope = self._transport.call("GET", path, params=params, repeatable=True)
            data = envelope["data"]
            if not data.get("next_cursor"):
                return Verdict.parse(data)
            params["cursor"] = data["next_cursor"]

    def _from(self, cursor: int | None, filters: Mapping[str, Any]) -> Iterator[AuditRow]:
        params = _given({**filters, "cursor": cursor})
        rest = b""
        headers = {"Accept": "application/x-ndjson"}
        with self._transport.stream(_PATH, params, headers) as response:
            for chunk in response.iter_bytes():
                *whole, rest = (rest + chunk).split(b"\n")
                yield from map(_row, whole)
        if rest:
            raise NotRdev("the export ended in the middle of a row")


def _row(line: bytes) -> AuditRow:
    try:
        return AuditRow.parse(json.loads(line))
    except (ValueError, KeyError, TypeError) as exc:
        raise NotRdev("the server sent a row of its audit log that cannot be read") from exc


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
