"""Commands: what was asked, what became of it, and the rules between the two. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

_MOST_MESSAGE = 1000

REFUSALS = frozenset(
    {
        "cwd_not_found",
        "cwd_outside_workspace",
        "infrastructure",
        "limits_not_enforceable",
        "program_not_found",
        "setsid_not_found",
    }
)
"""Why a leader may decline to become its command."""


class Kind(StrEnum):
    """What sort of command it is; the last word of its URL."""

    SHELL = "shell"
    GIT = "git"
    CLAUDE = "claude"


class Priority(StrEnum):
    """Which of the three queues a command waits in."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Status(StrEnum):
    """Where a command stands. The last five are ends, and final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    LOST = "lost"

    @property
    def final(self) -> bool:
        return self not in (Status.QUEUED, Status.RUNNING)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a command's output has been seen: bytes of stdout and of stderr."""

    stdout: int = 0
    stderr: int = 0


@dataclass(frozen=True, slots=True)
class Launch:
    """What a workspace needs to start a command. `argv` is final: no shell looks at it again."""

    command_id: str
    project_id: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """The project's and the caller's variables; the workspace adds PATH, HOME, LANG and
    RDEV_COMMAND_ID, and nothing else."""
    cwd: str = "."
    """Relative to the workspace."""
    stdin: bytes = b""
    stdin_open: bool = False
    """Whether stdin stays open after these bytes, for `Workspace.feed`."""
    memory_mb: int | None = None
    processes: int | None = None
    """Threads count as well."""
    life: str | None = None
    """Only in this life of the workspace's files (`Workspace.life`). None: in whichever."""

    @property
    def limited(self) -> bool:
        """Whether the kernel is to hold it to a limit."""
        return self.memory_mb is not None or self.processes is not None


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command's leader ended: its status as a shell gives it (128 + n for a signal)."""

    exit_code: int


@dataclass(frozen=True, slots=True)
class Submission:
    """A command as it goes into the queue. `env` and `stdin` stay out of every record."""

    id: str
    project_id: str
    key_id: str
    kind: Kind
    priority: Priority
    spec: Mapping[str, Any]
    timeout_s: float
    queue_timeout_s: float | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    labels: Mapping[str, str] = field(default_factory=dict)
    trace_context: str | None = None
    """The trace that it was queued in, a `traceparent`."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command and its record. `spec` is what was asked, by kind."""

    id: str
    project_id: str
    key_id: str
    kind: Kind
    status: Status
    priority: Priority
    spec: Mapping[str, Any]
    queued_at: datetime
    timeout_s: float
    labels: Mapping[str, str] = field(default_factory=dict)
    epoch: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    signal: str | None = None
    reason: str | None = None
    reason_message: str | None = None
    output: Position = Position()
    stdout_sha256: str | None = None
    stderr_sha256: str | None = None
    truncated: bool = False
    usage: Mapping[str, Any] = field(default_factory=dict)
    cancel_requested_at: datetime | None = None
    waiting_for: str | None = None
    """While it waits for its workspace: what that is doing, in a sentence."""
    trace_context: str | None = None
    claimed_at: datetime | None = None
    waiting_since: datetime | None = None
    """When it was first put back because its workspace was not there."""
    first_output_at: datetime | None = None
    ended_at: datetime | None = None
    """When nothing of it was seen to run any more; its record is closed after that."""
    archived_at: datetime | None = None
    workspace_life: str | None = None
    """The life of its workspace's files (`Workspace.life`) in which it may have been started."""
    boot_id: str | None = None
    """The boot of its workspace's machine (`Workspace.boot_id`) in which it may have been."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """The end that rdev has decided on for a running command, and why."""

    status: Status
    reason: str | None


@dataclass(frozen=True, slots=True)
class Outage:
    """For how long a workspace has not run, without an answer since; of that, for how long it has
    not been on its way either."""

    down_s: float = 0.0
    failing_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A command that a runner holds under the epoch in it, with what starting it needs."""

    command: Command
    env: Mapping[str, str]
    stdin: bytes
    failures: int
    """How often starting it has failed for reasons of rdev's own."""
    running_s: float = 0.0
    """For how long it has been running by the database's clock, as it was claimed: since its start,
    where that is known, else since it was claimed first."""
    waits: int = 0
    """How often it was put back because its workspace was not there yet."""
    waited_s: float = 0.0
    """How long it has been waiting so, from look to look."""
    queue_timed_out: bool = False
    """Its `queue_timeout_s` was over as it was claimed."""
    stopping: Stopping | None = None
    """That an earlier runner had begun to end it."""
    handed_over: bool = False
    """That the runner before gave it back as it ended; else that one's lease ran out."""
    outage: Outage = Outage()
    """Of its workspace, as the runner before gave it back."""

    @property
    def surely_first(self) -> bool:
        """Whether nobody can have started it before: every earlier claim put it back."""
        return self.command.epoch == self.failures + self.waits + 1


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended, as its runner closes the record."""

    status: Status
    exit_code: int | None = None
    signal: str | None = None
    reason: str | None = None
    reason_message: str | None = None
    """The same in a sentence for whoever asked, where there is more to say than the word."""
    output: Position = Position()
    stdout_sha256: str | None = None
    stderr_sha256: str | None = None
    truncated: bool = False
    usage: Mapping[str, Any] = field(default_factory=dict)
    ran: bool = True
    """False where it never started: then there is no start time either."""
    over_at: float | None = None
    """When nothing of it was seen to run any more, by the monotonic clock of this process."""

    @classmethod
    def never_ran(cls, reason: str, message: str | None = None) -> "Ending":
        """The end of a command that certainly never starts."""
        said = None if message is None else one_line(message)
        return cls(Status.FAILED, reason=reason, reason_message=said, ran=False)


def refused(reason: str, message: str) -> Ending:
    """The end of a command whose leader declined. That is told by a file of the workspace, where
    commands can write what they like: a word that is none becomes `infrastructure`."""
    return Ending.never_ran(reason if reason in REFUSALS else "infrastructure", message)


def one_line(text: str) -> str:
    """A message as a record can hold it, wherever it comes from: names of files are bytes, and
    Postgres takes no NUL."""
    printable = "".join(c if c.isprintable() else " " for c in text.strip())
    return printable if len(printable) <= _MOST_MESSAGE else f"{printable[:_MOST_MESSAGE]}…"
