"""Webhooks: endpoints and what they are told of, deliveries, attempts. Values; pure."""

from __future__ import annotations

import fnmatch
import re
import string
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from rdev.domain.attempts import Outcome

TEST = "test"
ENDPOINT_DISABLED = "endpoint.disabled"
EVENT_TYPES = (
    "command.queued",
    "command.started",
    "command.finished",
    "project.created",
    "project.started",
    "project.stopped",
    "project.deleted",
    "key.created",
    "key.rotated",
    "key.revoked",
    ENDPOINT_DISABLED,
    TEST,
)

_PROJECT_LETTERS = string.ascii_lowercase + string.digits + "-"
_BRACKETS = re.compile(r"\[!?\]?[^\]]*\]")


class State(StrEnum):
    """Where a delivery stands. An exhausted one is kept, and can be delivered again."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    EXHAUSTED = "exhausted"


class Trigger(StrEnum):
    """Why an attempt is made: by the schedule, or because somebody asked for it."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"


class Disabled(StrEnum):
    """Why an endpoint gets nothing more."""

    GONE = "gone"
    """It answered 410."""
    FAILING = "failing"
    """It took nothing for days."""
    BY_HAND = "by_hand"


@dataclass(frozen=True, slots=True)
class Health:
    """How an endpoint fares, as its last attempts tell."""

    failures: int = 0
    """How many failed, one after the other."""
    failing_since: datetime | None = None
    slow: bool = False
    blocked_until: datetime | None = None
    """Nothing is sent before: it asked for patience, or its circuit breaker is open."""
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    disabled_at: datetime | None = None
    disabled_reason: Disabled | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A receiver of webhooks. Its secrets are not in it."""

    id: str
    url: str
    events: tuple[str, ...]
    created_at: datetime
    created_by: str
    projects: tuple[str, ...] = ("*",)
    description: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Its own, sent with each request; they may be secrets."""
    max_concurrent: int = 4
    paused: bool = False
    health: Health = Health()
    updated_at: datetime | None = None

    @property
    def enabled(self) -> bool:
        return self.health.disabled_at is None

    @property
    def status(self) -> str:
        if not self.enabled:
            return "disabled"
        return "paused" if self.paused else "active"


@dataclass(frozen=True, slots=True)
class Secret:
    """What an endpoint's requests are signed with; one that was rotated expires."""

    value: str = field(repr=False)
    created_at: datetime
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint."""

    id: str
    endpoint_id: str
    event_id: str
    type: str
    project_id: str | None
    state: State
    attempts: int
    created_at: datetime
    due_at: datetime | None
    finished_at: datetime | None = None
    last_status: int | None = None
    last_error: str | None = None
    sending: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """One HTTP request of a delivery, as it is remembered."""

    number: int
    trigger: Trigger
    url: str | None
    began_at: datetime | None
    outcome: Outcome | None
    """None: its sender died, and nobody knows what became of it."""
    request_headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that a sender holds under `epoch`, with all that sending it takes."""

    delivery_id: str
    epoch: int
    number: int
    """Of the attempt that is to be made."""
    step: int
    trigger: Trigger
    event_id: str
    body: bytes = field(repr=False)
    endpoint: Endpoint
    secrets: tuple[str, ...] = field(repr=False)
    trace_context: str | None = None
    """The trace that the event was written in, a `traceparent`."""


def known(glob: str) -> bool:
    """Whether there is an event type that the glob stands for."""
    return any(fnmatch.fnmatchcase(name, glob) for name in EVENT_TYPES)


def pattern_of(globs: tuple[str, ...]) -> str:
    """One regular expression, as Postgres has them, for what any of these globs stands for.

    Brackets are spelled out letter by letter: a range that Postgres refuses would break every
    transaction that has something to tell."""
    return f"^({'|'.join(_regex(glob) for glob in globs)})$"


def _regex(glob: str) -> str:
    made, at = [], 0
    while at < len(glob):
        bracket = _BRACKETS.match(glob, at)
        if bracket:
            letters = [c for c in _PROJECT_LETTERS if fnmatch.fnmatchcase(c, bracket[0])]
            made.append(f"({'|'.join(letters)})" if letters else "(?!)")
            at = bracket.end()
            continue
        made.append({"*": ".*", "?": "."}.get(glob[at]) or re.escape(glob[at]))
        at += 1
    return "".join(made)
