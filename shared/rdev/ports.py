"""What the services need of the world, named by the semantics they rely on."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from enum import Enum
from typing import Any, Protocol

from rdev.domain.commands import (
    Claim,
    Command,
    Ending,
    Exit,
    Launch,
    Position,
    Priority,
    Stopping,
    Submission,
)
from rdev.domain.events import Announced, Chunk, Entry, EntryId, Notice, Tail
from rdev.domain.input import InputState, WaitingInput
from rdev.domain.keys import Key
from rdev.domain.projects import Project
from rdev.domain.segments import Segment, SegmentName


class Liveness(Enum):
    """What a workspace knows of a command that has no end yet."""

    UNKNOWN = "unknown"
    """Nothing was ever prepared or started under this id."""
    PREPARED = "prepared"
    """Prepared, and not started (yet)."""
    RUNNING = "running"
    DRAINING = "draining"
    """The leader ended; survivors are being given their time and then killed."""
    ENDED = "ended"
    """All is over: the exit is known and the output files are final."""
    DEAD = "dead"
    """Started, no exit recorded, and nobody left who would record one."""
    CANCELLED = "cancelled"
    """Its start token was planted by `forestall`: it will never start."""


class Workspace(Protocol):
    """Where one project's commands run. Every method raises WorkspaceUnavailable when it cannot
    be asked, and may be called by any number of runners at once."""

    def start(self, launch: Launch) -> None:
        """Have the command started unless it was already: however often and by however many
        this is called, the command starts at most once. Returns before it has started.
        Raises CommandRefused for what can be seen at once to be wrong, and WorkspaceUnavailable
        only where this call has certainly started nothing: where it cannot know (a connection
        that broke), it returns, and `liveness` will tell."""

    def liveness(self, command_id: str) -> Liveness: ...

    def refusal(self, command_id: str) -> tuple[str, str] | None:
        """(reason, message) if the leader declined to start it (`cwd_not_found`,
        `cwd_outside_workspace`, `program_not_found`); then nothing was run, and the token is
        taken."""

    def exit(self, command_id: str) -> Exit | None:
        """How the leader ended, as soon as it is known (also while survivors drain)."""

    def read(self, command_id: str, stream: str, offset: int, max_bytes: int) -> bytes:
        """Bytes of `stdout` or `stderr` from `offset`; empty where there are none (yet)."""

    def wait(self, command_id: str, timeout_s: float) -> None:
        """Block until something about the command may have changed, or the timeout. Spurious
        returns are fine; a missed change costs `timeout_s` at most."""

    def wake(self, command_id: str) -> None:
        """Have this process's `wait` for the command return."""

    def feed(self, command_id: str, offset: int, data: bytes) -> int | None:
        """Put bytes into the stdin of a command that was launched with `stdin_open`, only what
        begins exactly where its input ends so far; `Launch.stdin` is the beginning. Returns where
        it ends now: lower than asked where the command has not read what it was given before.
        None: its stdin was given up, nobody will ever read it."""

    def close_stdin(self, command_id: str) -> None:
        """Let its stdin end after what it was fed. Twice is no error."""

    def usage(self, command_id: str) -> Mapping[str, int | float]:
        """What the kernel counted, where it did: `memory_max_bytes`, `cpu_s`, and `oom_kills`,
        the processes that it killed for the command's memory limit."""

    def signal(self, command_id: str, name: str) -> None:
        """Send TERM, INT or KILL to the command's whole process group and, for KILL, to every
        process that carries its RDEV_COMMAND_ID. Nothing there: no error."""

    def survivors(self, command_id: str) -> int:
        """How many processes of the command are alive."""

    def forestall(self, command_id: str) -> bool:
        """Plant the start token, so that the command can never start. False: it has started."""

    def clean(self, command_id: str) -> None:
        """Remove the command's directory; its start token stays for seven days."""


class Workspaces(Protocol):
    """The workspaces of all projects."""

    def of(self, project_id: str) -> Workspace: ...

    def create(self, project_id: str, *, git_url: str | None) -> None:
        """Make the workspace. Making it twice is no error."""

    def enforceable(self) -> frozenset[str]:
        """The names of the limits that a command can be held to here."""

    def delete(self, project_id: str) -> None:
        """Kill what runs in it and remove it with all its files. Twice is no error."""

    def prune(self) -> int:
        """Remove start tokens whose seven days are over. How many."""


# --- records -------------------------------------------------------------------------------------


class KeyTable(Protocol):
    def insert(self, key: Key, secret_hash: bytes) -> None: ...
    def by_hash(self, secret_hash: bytes) -> Key | None: ...
    def get(self, key_id: str) -> Key | None: ...
    def list(self, *, before: str | None, limit: int) -> Sequence[Key]: ...
    def revoke(self, key_id: str, now: datetime) -> bool: ...
    def lock_first_key(self) -> bool: ...


class ProjectTable(Protocol):
    def insert(self, project: Project, created_by: str) -> bool: ...
    def get(self, project_id: str) -> Project | None: ...
    def list(self, *, after: str | None, limit: int) -> Sequence[Project]: ...
    def delete(self, project_id: str) -> bool: ...


class CommandTable(Protocol):
    def insert(self, asked: Submission) -> Command: ...
    def waiting_of(self, key_id: str) -> int: ...
    def remember_request(
        self, key_id: str, project_id: str, value: str, request_hash: bytes, command_id: str
    ) -> tuple[str, bytes] | None: ...
    def get(self, project_id: str, command_id: str) -> Command | None: ...
    def list(
        self,
        project_id: str,
        *,
        before: str | None,
        limit: int,
        status: str | None = None,
        kind: str | None = None,
        key_id: str | None = None,
        since: datetime | None = None,
    ) -> Sequence[Command]: ...
    def unfinished_of(self, project_id: str) -> Command | None: ...
    def cancel_queued(self, command_id: str) -> Command | None: ...
    def ask_to_cancel(self, command_id: str) -> bool: ...


class InputTable(Protocol):
    """What waits to go into the stdin of commands that were started with `stdin_open`. Addressed
    by bytes; forgotten when the command ends, whoever ends it."""

    def open(self, command_id: str, at: int) -> None: ...
    def lock(self, command_id: str) -> InputState | None: ...
    def append(self, command_id: str, start: int, data: bytes) -> None: ...
    def close(self, command_id: str) -> None: ...
    def waiting(self, command_id: str) -> WaitingInput | None: ...
    def fed(self, command_id: str, up_to: int) -> None: ...


class QueueTable(Protocol):
    """Claims and leases. Every change but `claim` and `take_over` names the epoch of its claim and
    does nothing where that is no longer the row's."""

    def claim(
        self, priority: Priority, *, runner: str, lease_s: float, max_concurrent: int
    ) -> Claim | None: ...
    def overdue(self, older_than_s: float) -> Sequence[Priority]: ...
    def take_over(self, *, runner: str, lease_s: float, limit: int) -> Sequence[Claim]: ...
    def renew(self, held: Sequence[tuple[str, int]], *, lease_s: float) -> Mapping[str, bool]: ...
    def release(self, held: Sequence[tuple[str, int]]) -> None: ...
    def started(self, command_id: str, epoch: int) -> bool: ...
    def stopping(self, command_id: str, epoch: int, stop: Stopping) -> bool: ...
    def requeue(self, command_id: str, epoch: int, *, delay_s: float) -> int | None: ...
    def finish(self, command_id: str, epoch: int, ending: Ending) -> Command | None: ...
    def expire_waiting(self) -> Sequence[Command]: ...
    def unannounced(self, *, older_than_s: float, limit: int) -> Sequence[Command]: ...
    def mark_announced(self, command_id: str) -> None: ...
    def oldest_waiting(self) -> Sequence[tuple[Priority, str]]: ...
    def forget_requests(self) -> None: ...
    def depth(self) -> Sequence[dict[str, object]]: ...


class ArchiveTable(Protocol):
    """Which commands' streams are to go into the archive, are there, and have been removed."""

    def unarchived(self, *, older_than_s: float, limit: int) -> Sequence[Command]: ...
    def mark(self, command_ids: Sequence[str]) -> None: ...
    def is_archived(self, command_id: str) -> bool: ...
    def outlived(self, *, older_than_s: float, limit: int) -> Sequence[tuple[str, str]]: ...
    def mark_removed(self, command_ids: Sequence[str]) -> None: ...


class Transaction(Protocol):
    """What commits together."""

    @property
    def keys(self) -> KeyTable: ...
    @property
    def projects(self) -> ProjectTable: ...
    @property
    def commands(self) -> CommandTable: ...
    @property
    def queue(self) -> QueueTable: ...
    @property
    def input(self) -> InputTable: ...
    @property
    def archive(self) -> ArchiveTable: ...


Transactions = Callable[[], AbstractContextManager[Transaction]]


# --- the queue's wake-ups ------------------------------------------------------------------------


class QueueTickets(Protocol):
    """Wake-ups; each may be lost, and comes late or twice without harm."""

    def offer(self, priority: Priority, command_id: str) -> None: ...
    def restock(self, priority: Priority, command_id: str) -> None: ...
    def take(self, consumer: str, timeout_s: float) -> bool: ...
    def reclaim(self, *, idle_s: float) -> bool: ...
    def forget_consumer(self, consumer: str) -> None: ...
    def ring(self, command_id: str) -> None: ...
    def rung(self, after: str, timeout_s: float) -> tuple[str, Sequence[str]]: ...


# --- Events: the streams --------------------------------------------------------------------


class EventStreams(Protocol):
    """Commands' streams. Every method raises StoreUnavailable; every append may be repeated."""

    def append(
        self,
        project_id: str,
        command_id: str,
        stream: str,
        at: Position,
        data: bytes,
        *,
        type: str = "output",  # noqa: A002 (the event's type)
    ) -> Position:
        """Append bytes of `stdout` or `stderr` beginning at `at`, only if the stream ends there
        and is not finished. Returns where it ends now: go on from there, wherever that is."""

    def append_all(self, project_id: str, command_id: str, chunks: Sequence[Chunk]) -> Position:
        """Several appends in one round trip."""

    def announce(
        self,
        project_id: str,
        command_id: str,
        type: str,  # noqa: A002 (the event's type)
        data: Mapping[str, Any],
        totals: Position = ...,
    ) -> Announced:
        """Add command.queued, .started or .finished once; the last only at exactly `totals`."""

    def tail(self, project_id: str, command_id: str) -> Tail: ...

    def read(
        self, project_id: str, command_id: str, after: EntryId, *, count: int = 16
    ) -> list[Entry]: ...

    def trim_to(self, project_id: str, command_id: str, entry_id: EntryId) -> None:
        """Forget what lies before this entry, if it is one of the stream."""

    def forget(self, project_id: str, command_id: str, *, after_s: int) -> None:
        """Let the stream go in `after_s` seconds."""


class SegmentArchive(Protocol):
    """Segments of commands' streams, for as long as they are wanted. Every method raises
    StoreUnavailable within its time limit, and may be repeated."""

    def store(self, project_id: str, command_id: str, segment: Segment) -> None:
        """Durable once this returns; there whole, or not at all."""

    def segments(self, project_id: str, command_id: str) -> list[SegmentName]: ...

    def load(self, project_id: str, command_id: str, name: SegmentName) -> Segment | None:
        """None where it is not there. Raises SegmentDamaged, and never gives wrong bytes."""

    def remove(self, project_id: str, command_id: str) -> None:
        """Remove all of a command's segments."""


class ProjectFeed(Protocol):
    """What the hub needs: one blocking read over many projects, and quick looks back."""

    def latest(self, project_ids: Sequence[str]) -> dict[str, EntryId]: ...

    def wait(self, after: Mapping[str, EntryId], timeout_s: float) -> dict[str, list[Notice]]:
        """Blocks until something came after these ids, the bell was rung, or the timeout."""

    def ring(self) -> None: ...

    def history(self, project_id: str, after: EntryId, *, count: int) -> list[Notice]: ...

    def entries(
        self, ranges: Sequence[tuple[str, str, EntryId, EntryId | None]], *, count: int = ...
    ) -> list[list[Entry]]:
        """For each (project, command, after, last): the entries between, `count` at most."""

    def close(self) -> None: ...


# --- end of Events --------------------------------------------------------------------------
