"""What callers send: one set of models for validation and for the OpenAPI document."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from rdev.domain import git_arguments
from rdev.domain.addresses import parse_networks
from rdev.domain.commands import Kind, Priority, Status
from rdev.http.fields import (
    GIT_ARGUMENTS,
    MAX_LIST,
    WHOLE,
    Cidr,
    Cwd,
    Env,
    EventId,
    LabelName,
    Line,
    Moment,
    ProjectId,
    Scope,
    Text,
)
from rdev.http.parsing import Strict
from rdev.services.exec import Wish
from rdev.services.keys import Grant

_MAX_COMMAND = 100_000  # Linux takes 128 KiB in one argument
_GIT_URL = r"^(https?://|ssh://|git@)[^\s\x00-][^\s\x00]*$"


class CreateKey(Strict):
    """A new API key."""

    name: Annotated[Line, Field(min_length=1, max_length=100)]
    scopes: Annotated[list[Scope], Field(min_length=1)]
    description: Annotated[Text, Field(max_length=1000)] = ""
    projects: Annotated[
        list[Annotated[Line, Field(min_length=1, max_length=63)]],
        Field(min_length=1, max_length=MAX_LIST),
    ] = ["*"]
    allowed_ips: Annotated[list[Cidr], Field(max_length=MAX_LIST)] = []
    rate_limit: Annotated[int, Field(ge=1, le=100_000), WHOLE] | None = None
    max_concurrent: Annotated[int, Field(ge=1, le=10_000), WHOLE] | None = None
    expires_at: Moment | None = None

    def grant(self) -> Grant:
        return Grant(
            name=self.name,
            scopes=tuple(self.scopes),
            description=self.description,
            projects=tuple(self.projects),
            allowed_ips=parse_networks(self.allowed_ips),
            rate_limit=self.rate_limit,
            max_concurrent=self.max_concurrent,
            expires_at=self.expires_at,
        )


class RotateKey(Strict):
    """A key's next secret."""

    overlap_s: Annotated[int, Field(ge=0, le=30 * 86_400), WHOLE] = 86_400


class CreateProject(Strict):
    """A new project and its workspace."""

    id: ProjectId
    git_url: Annotated[str, Field(max_length=2000, pattern=_GIT_URL)] | None = None
    env: Env = {}
    max_concurrent: Annotated[int, Field(ge=1, le=10_000), WHOLE] | None = None
    template: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")] | None = None


class Limits(Strict):
    """What a command may use up."""

    output_mb: Annotated[int, Field(ge=1, le=100_000), WHOLE] | None = None
    memory_mb: Annotated[int, Field(ge=1, le=10_000_000), WHOLE] | None = None
    processes: Annotated[int, Field(ge=1, le=4_000_000), WHOLE] | None = None


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
            LabelName,
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
        GIT_ARGUMENTS,
    ]

    @field_validator("env")
    @classmethod
    def _runs_nothing(cls, env: dict[str, str]) -> dict[str, str]:
        wrong = git_arguments.env_problem(list(env))
        if wrong is not None:
            raise ValueError(wrong)
        return env


class ClaudeCommand(_Command):
    """A prompt for Claude Code."""

    prompt: Annotated[Text, Field(min_length=1, max_length=1_000_000)]
    session_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")] | None = None
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/\[\]-]{0,99}$")] | None = None
    max_turns: Annotated[int, Field(ge=1, le=10_000), WHOLE] | None = None
    allowed_tools: (
        Annotated[
            list[Annotated[str, Field(pattern=r"^[A-Za-z][^,\x00]{0,199}$")]],
            Field(max_length=MAX_LIST),
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
    offset: Annotated[int, Field(ge=0, le=2**53), WHOLE] | None = None


class InputQuery(Strict):
    """Where raw input begins, and whether it is the last."""

    close: bool = False
    offset: Annotated[int, Field(ge=0, le=2**53)] | None = None


class Page(Strict):
    """Which part of a list."""

    cursor: Annotated[Text, Field(min_length=1, max_length=100)] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class CommandsPage(Page):
    """Which commands."""

    status: Status | None = None
    kind: Kind | None = None
    key: Annotated[Text, Field(max_length=100)] | None = None
    since: Moment | None = None


class OutputQuery(Strict):
    """Which of a command's streams."""

    stream: Literal["stdout", "stderr", "all"] = "all"


class EventsQuery(Strict):
    """Which events, and from where on."""

    stream_id: Annotated[Text, Field(min_length=1, max_length=100)] | None = None
    after: EventId | None = None
    ticket: Annotated[Text, Field(min_length=1, max_length=100)] | None = None
