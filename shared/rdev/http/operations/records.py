"""What answers look like: for the document alone, nothing is made from these at run time.

Closed on purpose (`extra="forbid"`): a field that an answer has and its record lacks is found by
the test that compares the running system with the document.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from rdev.domain.commands import Kind, Priority, Status
from rdev.domain.workspaces import State
from rdev.http.command_models import Limits


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)


class Meta(Record):
    """Which request this answers."""

    request_id: str
    timestamp: datetime


class ListMeta(Meta):
    """Which request this answers, and how to go on."""

    next_cursor: Annotated[str | None, Field(description="Send it as `cursor`; null: the end.")]


class FieldProblem(Record):
    """One field that was wrong."""

    field: str
    message: str


class ErrorBody(Record):
    """Decide by `code`; `message` is for people."""

    code: str
    message: str
    details: Annotated[list[FieldProblem], Field(min_length=1)] = []


class ProjectLinks(Record):
    self: str
    commands: str
    events: str


class WorkspaceStatus(Record):
    """What a workspace is doing; where it does not run, why."""

    state: State
    reason: str | None
    message: str | None
    observed_at: Annotated[
        datetime | None,
        Field(description="The last moment it held for certain; null: it always does."),
    ]
    stale: Annotated[bool, Field(description="That was too long ago to be relied on.")]


class ProjectStatus(Record):
    """A project's workspace, after it was told to start or stop."""

    id: str
    status: WorkspaceStatus


class SetupLinks(Record):
    self: str
    output: str


class Setup(Record):
    """The command that fills a new workspace from `git_url`."""

    command: str
    status: Status
    reason: str | None
    message: str | None
    links: SetupLinks


class Project(Record):
    """A project. Of its environment only the names are shown."""

    id: str
    workspace: str
    status: WorkspaceStatus
    template: str | None
    git_url: str | None
    setup: Setup | None
    env: list[str]
    max_concurrent: int | None
    created_at: datetime
    links: ProjectLinks


class DeletedProject(Record):
    id: str
    deleted: Literal[True]


class Sha256(Record):
    stdout: str | None
    stderr: str | None


class Output(Record):
    """How much a command wrote; final once its status is."""

    stdout_bytes: Annotated[int, Field(ge=0)]
    stderr_bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256
    truncated: bool


_Ms = Annotated[int, Field(ge=0)] | None


class Timings(Record):
    """How long each step took; null where it is not over, did not happen or is not known."""

    queued_ms: Annotated[_Ms, Field(description="From `queued_at` until a runner took it.")]
    workspace_ms: Annotated[_Ms, Field(description="Of that, waiting for its workspace.")]
    starting_ms: Annotated[_Ms, Field(description="From there to `started_at`.")]
    first_output_ms: Annotated[_Ms, Field(description="From `started_at` to its first output.")]
    running_ms: Annotated[_Ms, Field(description="From `started_at` until nothing of it ran.")]
    closing_ms: Annotated[
        _Ms, Field(description="From there to `finished_at`: the rest of its output, its record.")
    ]
    archiving_ms: Annotated[_Ms, Field(description="From there until it was archived.")]


class CommandLinks(Record):
    self: str
    events: str
    output: str
    cancel: str


class _Command(Record):
    id: str
    project: str
    status: Status
    priority: Priority
    key_id: str
    stream_id: str
    cwd: str
    limits: Limits
    exit_code: Annotated[int | None, Field(description="128 + n for a signal, as a shell has it")]
    signal: Annotated[str | None, Field(description="Only one that rdev sent.")]
    reason: str | None
    reason_message: str | None
    waiting_for: Annotated[
        str | None, Field(description="What its workspace is doing, while it waits for that.")
    ]
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: Annotated[int, Field(ge=0)] | None
    timings: Timings
    timeout_s: float
    cancel_requested_at: datetime | None
    output: Output
    usage: dict[str, Any]
    labels: dict[str, str]
    links: CommandLinks


class ShellCommandRecord(_Command):
    """A shell command."""

    kind: Literal[Kind.SHELL]
    command: str
    stdin_open: Literal[True] = True


class GitCommandRecord(_Command):
    """A git command."""

    kind: Literal[Kind.GIT]
    args: list[str]
    stdin_open: Literal[True] = True


class ClaudeCommandRecord(_Command):
    """A prompt for Claude Code."""

    kind: Literal[Kind.CLAUDE]
    prompt: str
    session_id: str = ""
    model: str = ""
    max_turns: int = 0
    allowed_tools: list[str] = []
    permission_mode: str = ""
    max_cost_usd: float = 0


class AcceptedInput(Record):
    """Where the next piece of input begins."""

    id: str
    offset: Annotated[int, Field(ge=0)]
    closed: bool


class QueueDepth(Record):
    """What waits and runs in one priority, over all projects and keys."""

    priority: Priority
    waiting: Annotated[int, Field(ge=0)]
    oldest_s: Annotated[float, Field(ge=0)]
    running: Annotated[int, Field(ge=0)]


class EventTicket(Record):
    """Opens one stream, once."""

    ticket: str
    expires_in_s: int


class Key(Record):
    """An API key, without its secret."""

    id: str
    name: str
    description: str
    hint: Annotated[str, Field(description="How the secret begins, to recognise it by.")]
    scopes: list[str]
    projects: list[str]
    allowed_ips: list[str]
    rate_limit: int | None
    max_concurrent: int | None
    created_at: datetime
    created_by: str | None
    expires_at: datetime | None
    revoked_at: datetime | None
    rotated_at: datetime | None
    previous_secret_expires_at: datetime | None
    last_used_at: datetime | None
    last_used_ip: str | None


class KeyWithSecret(Key):
    """An API key with its secret, which is shown this once."""

    key: str


class Health(Record):
    status: Literal["ok"]
    version: str


class Check(Record):
    """Whether something answers; where it does not, why. `breaker`: how its circuit breaker stands,
    where it has one."""

    status: Literal["ok", "unavailable"]
    reason: str = ""
    breaker: Literal["closed", "open", "half-open"] = "closed"


class Checks(Record):
    """`kubernetes` only where workspaces lie there. `sweep`: whether somebody makes good what fell
    through, as the database knows it."""

    postgres: Check
    redis: Check
    kubernetes: Check = Check(status="ok")
    archive: Check
    sweep: Check


class Ready(Record):
    status: Literal["ok", "degraded", "unavailable"]
    checks: Checks


class Command(
    RootModel[
        Annotated[
            ShellCommandRecord | GitCommandRecord | ClaudeCommandRecord,
            Field(discriminator="kind"),
        ]
    ]
):
    """A command, of whatever kind."""
