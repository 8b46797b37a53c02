"""Workspaces started and stopped: by callers, by commands that come, and for want of commands.

What is meant stands in the project's row and is changed under its lock; so a stop and a command
that comes at the same time agree on which was first. The workspaces are told while the lock is
held. A stop is written down before they are told: should its outcome stay unknown, the row says
so (`settled`), the next start makes certain that the stop takes no effect after it, and a sweep
has it done.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from rdev.domain.callers import Caller
from rdev.domain.commands import Command
from rdev.domain.projects import Project
from rdev.domain.workspaces import State, WorkspaceState
from rdev.errors import Conflict, NotFound, WorkspaceNotReady, WorkspaceUnavailable
from rdev.failpoints import reach
from rdev.ports import Transaction, Transactions, Workspaces
from rdev.services import facts
from rdev.services.unfinished import refuse_unfinished

log = logging.getLogger(__name__)

_AT_ONCE = 20
_PATIENCE_S = 1.0
"""For how long a runner stands by a workspace that starts; the queue waits the rest."""


@dataclass(frozen=True, slots=True)
class Down:
    """A workspace that does not run. `on_its_way`: it is starting, or will be."""

    why: str
    on_its_way: bool


class Lifecycle:
    """`idle_stop_s`: after how long without commands a workspace is stopped; 0: never."""

    def __init__(
        self,
        transaction: Transactions,
        workspaces: Workspaces,
        *,
        idle_stop_s: float = 0.0,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._transaction = transaction
        self._workspaces = workspaces
        self._idle_stop_s = idle_stop_s
        self._patience_s = patience_s

    # --- asked for -------------------------------------------------------------------------------

    def start(self, by: Caller, project_id: str) -> WorkspaceState:
        """Have its workspace started. Running already is no error."""
        self._check_seen(by, project_id)
        if self._workspaces.stoppable:
            self._start(project_id, lambda tx: facts.project_started(tx, by, project_id))
        return self._workspaces.state(project_id)

    def stop(self, by: Caller, project_id: str) -> WorkspaceState:
        """Have its workspace go to zero; its files are kept. Stopped already is no error. Raises
        Conflict while a command of it waits or runs, and where it cannot be stopped."""
        self._check_seen(by, project_id)
        if not self._workspaces.stoppable:
            raise Conflict(
                "This workspace is a folder: it always runs and uses nothing while it has no "
                "command. There is nothing to stop."
            )
        self._workspaces.check_ours(project_id)
        with self._transaction() as tx:
            project = tx.projects.lock(project_id)
            if project is not None:
                project.refuse_if_deleting()
            refuse_unfinished(tx, project_id)
            if project is not None and not project.stopped:
                tx.projects.set_stopped(project_id, stopped=True, settled=False)
                facts.project_stopped(tx, by, project_id)
        self._settle(project_id)
        return self._workspaces.state(project_id)

    # --- for a command ---------------------------------------------------------------------------

    def ready(self, command: Command) -> Project | None:
        """The command's project, with its workspace running, and not to be stopped before the
        command has ended. Raises WorkspaceNotReady while it is on its way, and while nobody can
        say: a command waits for both."""
        if not self._workspaces.stoppable:
            with self._transaction(reading=True) as tx:
                return tx.projects.get(command.project_id)
        try:
            return self._woken(command)
        except WorkspaceNotReady:
            raise
        except WorkspaceUnavailable as exc:
            raise WorkspaceNotReady(exc.message) from exc

    def _woken(self, command: Command) -> Project | None:
        with self._transaction() as tx:
            # From here on an idle stop sees that the command is running; one before is seen here.
            project = tx.projects.lock(command.project_id, shared=True)
            setup = _unfinished_setup(tx, project, command)
        if project is None or project.deletion is not None:
            return None
        if project.stopped:
            self._start(project.id, lambda tx: facts.project_woken(tx, command))
        changed_at = datetime.now(UTC) if project.stopped else project.changed_at
        state = self._workspaces.wait_running(project.id, self._patience_s, changed_at=changed_at)
        # By somebody else's hand; what was changed just now may not be seen yet.
        if state.state is State.STOPPED and not (state.stale or project.changed_at):
            self._start(project.id, lambda tx: facts.project_woken(tx, command))
        if not state.running:
            raise WorkspaceNotReady(told(state))
        if setup is not None:
            raise WorkspaceNotReady(f"The workspace is being filled by {setup.id}.")
        return project

    def gone(self, project_id: str) -> str | None:
        """Why the workspace is certainly not there; None: it is, or nobody can say."""
        with self._transaction(reading=True) as tx:
            project = tx.projects.get(project_id)
        if project is None or project.deletion is not None:
            return "The project was deleted."
        state = self._workspaces.state(project_id)
        return state.message if state.state is State.MISSING and not state.stale else None

    def down(self, project_id: str) -> Down | None:
        """Of a workspace that certainly does not run now. None: it does, or nobody can say."""
        if not self._workspaces.stoppable:
            return None
        state = self._workspaces.state(project_id)
        if state.running or state.stale or state.state is State.UNKNOWN:
            return None
        return Down(told(state), on_its_way=state.state in (State.STARTING, State.STOPPING))

    # --- by the sweep ----------------------------------------------------------------------------

    def stop_idle(self) -> None:
        """Stop what has had no command for long enough."""
        if not (self._idle_stop_s and self._workspaces.stoppable):
            return
        with self._transaction() as tx:
            idle = tx.projects.idle(for_s=self._idle_stop_s, limit=_AT_ONCE)
        for project_id in idle:
            try:
                self._workspaces.check_ours(project_id)
            except Conflict:
                continue
            reach("idle.found")
            if self._no_longer_wanted(project_id):
                self._settle(project_id)

    def settle(self) -> None:
        """See through the stops whose outcome is unknown."""
        if not self._workspaces.stoppable:
            return
        with self._transaction(reading=True) as tx:
            unsettled = tx.projects.unsettled(_AT_ONCE)
        for project in unsettled:
            self._settle(project.id)

    def _no_longer_wanted(self, project_id: str) -> bool:
        with self._transaction() as tx:
            project = tx.projects.lock(project_id)
            # Under the lock: whoever has claimed a command comes by it before starting it.
            if project is None or project.deletion is not None or project.stopped:
                return False
            if tx.commands.unfinished_of(project_id):
                return False
            tx.projects.set_stopped(project_id, stopped=True, settled=False)
            facts.project_idle(tx, project_id)
        return True

    def _start(self, project_id: str, note: Callable[[Transaction], None]) -> None:
        with self._transaction() as tx:
            project = tx.projects.lock(project_id)
            if project is None or project.deletion is not None:
                return
            state = self._workspaces.state(project_id).state
            if not project.stopped and state not in (State.STOPPED, State.STOPPING):
                return
            reach("wake.before")
            self._workspaces.start(
                project_id, lambda: tx.projects.get(project_id), settled=project.settled
            )
            tx.projects.set_stopped(project_id, stopped=False, settled=True)
            note(tx)
        reach("wake.after")

    def _settle(self, project_id: str) -> None:
        with self._transaction() as tx:
            project = tx.projects.lock(project_id)
            if project is None or not project.stopped or project.settled:
                return  # somebody was faster
            if project.deletion is not None:
                return
            reach("stop.settling")
            self._workspaces.stop(project_id, lambda: tx.projects.get(project_id))
            tx.projects.set_stopped(project_id, stopped=True, settled=True)

    def _check_seen(self, by: Caller, project_id: str) -> None:
        by.must_see(project_id)
        with self._transaction(reading=True) as tx:
            project = tx.projects.get(project_id)
        if project is None:
            raise NotFound(f"Project not found: {project_id}")
        project.refuse_if_deleting()


def told(state: WorkspaceState) -> str:
    """Why a command cannot start there yet, in a sentence."""
    words = f"The workspace is {state.state}"
    return f"{words}: {state.message}" if state.message else f"{words}."


def _unfinished_setup(tx: Transaction, project: Project | None, command: Command) -> Command | None:
    if project is None or project.setup_command in (None, command.id):
        return None
    assert project.setup_command is not None
    setup = tx.commands.get(project.id, project.setup_command)
    return None if setup is None or setup.status.final else setup
