"""What callers send about commands: for validation and for the OpenAPI document."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from rdev.domain import git_arguments
from rdev.domain.commands import Kind, Priority, Status
from rdev.http.fields import (
    GIT_ARGUMENTS,
    MAX_LIST,
    WHOLE,
    Cwd,
    Env,
    LabelName,
    Moment,
    Text,
)
from rdev.http.models import Page
from rdev.http.parsing import Strict
from rdev.services.exec import Wish

_MAX_COMMAND = 100_000  # Linux takes 128 KiB in one argument


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


COMMANDS: dict[Kind, type[ShellCommand | GitCommand | ClaudeCommand]] = {
    Kind.SHELL: ShellCommand,
    Kind.GIT: GitCommand,
    Kind.CLAUDE: ClaudeCommand,
}


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


class CommandsPage(Page):
    """Which commands."""

    status: Status | None = None
    kind: Kind | None = None
    key: Annotated[Text, Field(max_length=100)] | None = None
    since: Moment | None = None


class OutputQuery(Strict):
    """Which of a command's streams."""

    stream: Literal["stdout", "stderr", "all"] = "all"
