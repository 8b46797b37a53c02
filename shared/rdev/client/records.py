"""What the API answers, as values. Lenient on purpose: a newer server may leave out or add
fields, and `raw` always holds what it really said."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypedDict

FINAL = frozenset({"succeeded", "failed", "cancelled", "timed_out", "lost"})


class CommandBody(TypedDict, total=False):
    """What may be asked of a command: `command`, `args` or `prompt` by its kind, and the rest."""

    command: str
    args: list[str]
    prompt: str
    cwd: str
    env: Mapping[str, str]
    stdin: str
    stdin_open: bool
    timeout_s: float
    queue_timeout_s: float
    priority: str
    labels: Mapping[str, str]
    limits: Mapping[str, Any]
    session_id: str
    model: str
    max_turns: int
    allowed_tools: list[str]
    permission_mode: str
    max_cost_usd: float


class KeyBody(TypedDict, total=False):
    """What may be asked of a new key beside its name and scopes."""

    description: str
    projects: list[str]
    allowed_ips: list[str]
    expires_at: str
    rate_limit: int
    max_concurrent: int


@dataclass(frozen=True, slots=True)
class Project:
    """A project. `workspace` is the kind of place where its commands run, `state` what that is
    doing; where it does not come up, `reason` and `message` say why. `stale`: it was so when it
    could last be seen."""

    id: str
    workspace: str | None = None
    state: str | None = None
    reason: str | None = None
    message: str | None = None
    stale: bool = False
    template: str | None = None
    git_url: str | None = None
    created_at: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        status = raw.get("status") or {}
        return cls(
            id=str(raw["id"]),
            workspace=raw.get("workspace"),
            state=status.get("state"),
            reason=status.get("reason"),
            message=status.get("message"),
            stale=bool(status.get("stale")),
            template=raw.get("template"),
            git_url=raw.get("git_url"),
            created_at=raw.get("created_at"),
            raw=raw,
        )


@dataclass(frozen=True, slots=True)
class Key:
    """An API key. `secret` is there only in the answer that created or rotated it, and never in a
    repr."""

    id: str
    name: str = ""
    scopes: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    allowed_ips: tuple[str, ...] = ()
    rate_limit: int | None = None
    max_concurrent: int | None = None
    created_at: str | None = None
    expires_at: str | None = None
    revoked_at: str | None = None
    last_used_at: str | None = None
    last_used_ip: str | None = None
    secret: str | None = field(default=None, repr=False)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            id=str(raw["id"]),
            name=raw.get("name") or "",
            scopes=tuple(raw.get("scopes") or ()),
            created_at=raw.get("created_at"),
            projects=tuple(raw.get("projects") or ()),
            allowed_ips=tuple(raw.get("allowed_ips") or ()),
            rate_limit=raw.get("rate_limit"),
            max_concurrent=raw.get("max_concurrent"),
            expires_at=raw.get("expires_at"),
            revoked_at=raw.get("revoked_at"),
            last_used_at=raw.get("last_used_at"),
            last_used_ip=raw.get("last_used_ip"),
            secret=raw.get("key") or raw.get("secret"),
            raw=raw,
        )


@dataclass(frozen=True, slots=True)
class Command:
    """A command's record. Right after the submit only `id`, `project` and `status` are known.
    `timings`: how many milliseconds each step took, in order; None where that is not known."""

    id: str
    project: str
    status: str
    kind: str | None = None
    priority: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    reason: str | None = None
    reason_message: str | None = None
    waiting_for: str | None = None
    queued_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    duration_ms: int | None = None
    timings: Mapping[str, int | None] = field(default_factory=dict, compare=False)
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    truncated: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def final(self) -> bool:
        return self.status in FINAL

    @classmethod
    def parse(cls, raw: Mapping[str, Any], project: str = "") -> Self:
        """From the API's JSON; `project` stands in where the answer does not name it."""
        output = raw.get("output") or {}
        return cls(
            id=str(raw["id"]),
            project=raw.get("project") or project,
            status=str(raw["status"]),
            kind=raw.get("kind"),
            priority=raw.get("priority"),
            exit_code=raw.get("exit_code"),
            signal=raw.get("signal"),
            reason=raw.get("reason"),
            reason_message=raw.get("reason_message"),
            waiting_for=raw.get("waiting_for"),
            queued_at=raw.get("queued_at"),
            started_at=raw.get("started_at"),
            finished_at=raw.get("finished_at"),
            duration_ms=raw.get("duration_ms"),
            timings=raw.get("timings") or {},
            stdout_bytes=output.get("stdout_bytes") or 0,
            stderr_bytes=output.get("stderr_bytes") or 0,
            truncated=bool(output.get("truncated")),
            raw=raw,
        )
