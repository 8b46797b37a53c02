"""Where commands run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from rdev.domain.commands import Exit, Launch
    from rdev.domain.workspaces import Found, WorkspaceState


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

    def life(self) -> str | None:
        """Names the files in which its start tokens lie: where it is another one, tokens were lost
        with the files, and what was started before may not be started again. None: they cannot be
        lost without the commands."""

    def boot_id(self) -> str | None:
        """Names the present boot of its machine: a start token that was not on the disk yet as an
        earlier one ended, by a power cut, is gone. None: that cannot be told."""

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

    def ran_for_s(self, command_id: str) -> float | None:
        """For how many seconds it has been running, by a clock of the workspace's that nobody
        sets. None where that cannot be told."""

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

    def flushed(self, command_id: str) -> bool | None:
        """Whether the output and exit status of a command that is ENDED are on the disk, where a
        power cut leaves them alone. False: they are on their way; None: nobody sees to that."""

    def loss(self, command_id: str) -> str | None:
        """Of a command that is DEAD: what is known of why its processes are gone, in a
        sentence."""

    def forestall(self, command_id: str) -> bool:
        """Plant the start token, so that the command can never start. False: it has started."""

    def clean(self, command_id: str) -> None:
        """Remove the command's directory; its start token stays for seven days."""


class Workspaces(Protocol):
    """The workspaces of all projects. Every method raises WorkspaceUnavailable when what it needs
    cannot be asked."""

    def of(self, project_id: str, life: str | None = None) -> Workspace:
        """Where its commands run now; should there be several such places, the one whose files
        have this life (`Workspace.life`), as long as it is there. Raises WorkspaceNotReady where
        it does not run."""

    @property
    def stoppable(self) -> bool:
        """Whether workspaces can be stopped, so that one may have to be waited for. False: each
        runs for as long as it is there."""

    @property
    def boot_id(self) -> str | None:
        """As `Workspace.boot_id`, where all are on this machine. None: each is elsewhere."""

    @property
    def clones(self) -> bool:
        """Whether `create` fills a workspace from its `git_url`. False: a command has to."""

    def alone(self, project_id: str) -> AbstractContextManager[None]:
        """Have nobody else make or remove this workspace meanwhile, where whoever died can be told
        from whoever sleeps. Raises Conflict where somebody else is at it."""

    def create(self, project_id: str, *, git_url: str | None, template: str | None = None) -> None:
        """Make the workspace and have it started. There already, it stays as it is. Raises
        InvalidRequest for a template that is not there, or not valid, and Conflict for a workspace
        that is there and was made from another one, or by others."""

    def enforceable(self) -> frozenset[str]:
        """The names of the limits that a command can be held to here."""

    def delete(self, project_id: str, still_meant: Callable[[], object]) -> None:
        """Kill what runs in it and remove it with all its files, also what another call was about
        to remove as it died. Twice is no error; one that others made stays. Once this returns,
        what is made under the name has nothing of it. `still_meant` is called at the last moment
        and raises where that is no longer wanted; a workspace that is made later is left alone."""

    def undo(self, project_id: str, still_meant: Callable[[], object]) -> None:
        """As `delete`, of a workspace whose maker died over `create`, within `alone` as he was. One
        that others have made since stays, where that can be told."""

    def check_ours(self, project_id: str) -> None:
        """Raises Conflict, saying so, for one that others made: it is only used."""

    def stop(self, project_id: str, still_meant: Callable[[], object]) -> None:
        """Have it go to zero, its files kept. Returns before it has gone. `still_meant` is called
        at the last moment and raises where that is no longer wanted; from then on a `start`
        undoes it, however late it takes effect."""

    def start(
        self, project_id: str, still_meant: Callable[[], object], *, settled: bool = True
    ) -> None:
        """Have it started; running already is no error. Returns before it runs. Not `settled`: a
        `stop` whose outcome nobody knows may be on its way, and must not take effect after
        this."""

    def state(self, project_id: str) -> WorkspaceState:
        """What is known of it, without asking anybody if that can be had."""

    def wait_running(
        self, project_id: str, timeout_s: float, *, changed_at: datetime | None = None
    ) -> WorkspaceState:
        """Its state as soon as it runs, or when the time is over. `changed_at`: it was started or
        stopped then, not long ago, so what is known of it by heart may be from before. Each such
        time is looked into until it was seen to run after it."""

    def found(self) -> Sequence[Found]:
        """The workspaces that are there, where they can be found without a record of them."""

    def is_there(self, project_id: str) -> bool:
        """Whether it is there, and nobody is removing it: asked for, not known by heart."""

    def prune(self) -> int:
        """Remove start tokens whose seven days are over. How many."""
