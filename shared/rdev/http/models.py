"""What callers send: one set of models for validation and for the OpenAPI document."""

import posixpath
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, Field

from rdev.domain import environment
from rdev.domain.commands import Kind, Priority, Status
from rdev.domain.keys import SCOPES
from rdev.domain.projects import PROJECT_ID
from rdev.http.parsing import Strict
from rdev.services.exec import Wish

_MAX_COMMAND = 100_000  # Linux takes 128 KiB in one argument
_MAX_LIST = 100


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("contains a NUL character")
    return value


def _label(value: str) -> str:
    if not PROJECT_ID.fullmatch(value):
        raise ValueError(
            "must be a DNS label: lower-case letters, digits and inner hyphens, 1 to 63 of them"
        )
    return value


def _inside(value: str) -> str:
    path = posixpath.normpath(_no_nul(value))
    if value.startswith("/") or path == ".." or path.startswith("../"):
        raise ValueError("must lie inside the workspace: a relative path without a way out")
    return path


def _env(values: dict[str, str]) -> dict[str, str]:
    wrong = environment.problem(values)
    if wrong is not None:
        raise ValueError(wrong)
    return values


def _scope(value: str) -> str:
    if value not in SCOPES:
        raise ValueError(f"must be one of {', '.join(SCOPES)}")
    return value


Text = Annotated[str, AfterValidator(_no_nul)]
Env = Annotated[dict[str, str], Field(max_length=_MAX_LIST), AfterValidator(_env)]
Cwd = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_inside)]
ProjectId = Annotated[str, AfterValidator(_label)]


class CreateKey(Strict):
    """A new API key."""

    name: Annotated[Text, Field(min_length=1, max_length=100)]
    scopes: Annotated[list[Annotated[str, AfterValidator(_scope)]], Field(min_length=1)]
    description: Annotated[Text, Field(max_length=1000)] = ""
    projects: Annotated[
        list[Annotated[Text, Field(min_length=1, max_length=63)]],
        Field(min_length=1, max_length=_MAX_LIST),
    ] = ["*"]
    rate_limit: Annotated[int, Field(ge=1, le=100_000)] | None = None
    max_concurrent: Annotated[int, Field(ge=1, le=10_000)] | None = None
    expires_at: AwareDatetime | None = None


class CreateProject(Strict):
    """A new project and its workspace."""

    id: ProjectId
    git_url: (
        Annotated[Text, Field(max_length=2000, pattern=r"^(https?://|ssh://|git@)[^\s-]\S*$")]
        | None
    ) = None
    env: Env = {}
    max_concurrent: Annotated[int, Field(ge=1, le=10_000)] | None = None


class Limits(Strict):
    """What a command may use up."""

    output_mb: Annotated[int, Field(ge=1, le=100_000)] | None = None
    memory_mb: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    processes: Annotated[int, Field(ge=1, le=4_000_000)] | None = None


class _Command(Strict):
    """What every kind of command takes."""

    cwd: Cwd = "."
    env: Env = {}
    stdin: str = ""
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    queue_timeout_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    priority: Priority = Priority.NORMAL
    limits: Limits = Limits()
    labels: Annotated[
        dict[
            Annotated[Text, Field(min_length=1, max_length=63)],
            Annotated[Text, Field(max_length=200)],
        ],
        Field(max_length=32),
    ] = {}

    def wish(self, kind: Kind) -> Wish:
        """`spec` holds what the record shows; `env` and `stdin` stay out of it."""
        hidden = {"env", "stdin", "timeout_s", "queue_timeout_s", "priority", "labels"}
        spec: dict[str, Any] = self.model_dump(mode="json", exclude=hidden, exclude_none=True)
        return Wish(
            kind=kind,
            spec=spec,
            priority=self.priority,
            timeout_s=self.timeout_s,
            queue_timeout_s=self.queue_timeout_s,
            env=self.env,
            stdin=self.stdin.encode(),
            labels=self.labels,
        )


class _CommandWithInput(_Command):
    """What takes input while it runs."""

    stdin_open: bool = False

    def wish(self, kind: Kind) -> Wish:
        wish = super().wish(kind)
        if self.stdin_open:
            return wish
        # Shown only where it is so.
        return replace(wish, spec={k: v for k, v in wish.spec.items() if k != "stdin_open"})


class ShellCommand(_CommandWithInput):
    """A line for `sh -c`."""

    command: Annotated[Text, Field(min_length=1, max_length=_MAX_COMMAND)]


class GitCommand(_CommandWithInput):
    """Arguments for git; no shell sees them."""

    args: Annotated[
        list[Annotated[Text, Field(max_length=_MAX_COMMAND)]],
        Field(min_length=1, max_length=1000),
    ]


class ClaudeCommand(_Command):
    """A prompt for Claude Code."""

    prompt: Annotated[Text, Field(min_length=1, max_length=1_000_000)]
    session_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")] | None = None
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/\[\]-]{0,99}$")] | None = None
    max_turns: Annotated[int, Field(ge=1, le=10_000)] | None = None
    allowed_tools: (
        Annotated[
            list[Annotated[str, Field(pattern=r"^[A-Za-z][^,\x00]{0,199}$")]],
            Field(max_length=_MAX_LIST),
        ]
        | None
    ) = None
    permission_mode: Literal["default", "acceptEdits", "plan", "bypassPermissions"] | None = None
    max_cost_usd: Annotated[float, Field(gt=0, le=100_000)] | None = None


class InputBody(Strict):
    """Input for a running command: text, or any bytes as base64."""

    data: str = ""
    encoding: Literal["base64"] | None = None
    close: bool = False
    offset: Annotated[int, Field(ge=0)] | None = None


class InputQuery(Strict):
    """Where raw input begins, and whether it is the last."""

    close: bool = False
    offset: Annotated[int, Field(ge=0)] | None = None


class Page(Strict):
    """Which part of a list."""

    cursor: Annotated[Text, Field(min_length=1, max_length=100)] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class CommandsPage(Page):
    """Which commands."""

    status: Status | None = None
    kind: Kind | None = None
    key: Annotated[Text, Field(max_length=100)] | None = None
    since: datetime | None = None


class OutputQuery(Strict):
    """Which of a command's streams."""

    stream: Literal["stdout", "stderr", "all"] = "all"


class EventsQuery(Strict):
    """Which events, and from where on."""

    stream_id: Annotated[Text, Field(min_length=1, max_length=100)] | None = None
    after: Annotated[Text, Field(min_length=1, max_length=50)] | None = None
    ticket: Annotated[Text, Field(min_length=1, max_length=100)] | None = None
