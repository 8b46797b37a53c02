"""Commands that certainly have not started go back into the queue: for a failure, or to wait there
for their workspace. Or they end, where that has been for too long or was asked for."""

import logging
import threading
import time
from collections.abc import Callable

from rdev.domain.commands import Ending, Status
from rdev.errors import CommandRefused, Unavailable, WorkspaceUnavailable
from rdev.failpoints import reach
from rdev.ports import Transactions, Workspaces
from rdev.services import facts
from rdev.services.asked import Asked
from rdev.services.leases import Held, insist
from rdev.services.pauses import MOST_FAILURES
from rdev.services.rules import Rules

log = logging.getLogger(__name__)

WAIT_AGAIN_S = 0.25
"""After how long a workspace that was not there is looked at again: the look itself waits."""
_LEAST_LOOKS = 10
"""Before a command is given up. What lies between two may be a clock that was set ahead, or a time
without runners: neither says that its workspace does not come up."""
_LOOKS_APART_S = 5.0
"""As much as lies between two is counted in any case."""
_LONGEST_ALONE_S = 30.0
_CANCELLED = Ending(Status.CANCELLED, ran=False)
"""Also of what the row does not let go back, which its cancel alone can be the reason for: where
the lease is lost instead, this ends nothing."""


class GoingBack:
    def __init__(
        self,
        transaction: Transactions,
        workspaces: Workspaces,
        rules: Rules,
        stopping: threading.Event,
        *,
        on_wait: Callable[[float], None],
    ) -> None:
        """`on_wait` is told when a command went back to wait for its workspace, and in how many
        seconds that is to be looked at again."""
        self._transaction = transaction
        self._workspaces = workspaces
        self._rules = rules
        self._stopping = stopping
        self._on_wait = on_wait
        self._most_s = max(_LOOKS_APART_S, rules.workspace_s / _LEAST_LOOKS)

    def put_back(self, held: Held, why: str) -> Ending | None:
        """For a command that certainly has not started. One that was put back too often, or is to
        be cancelled, ends; planting its token is for certainty's sake where that can be had."""
        command = held.claim.command
        if held.cancel or held.claim.failures + 1 >= MOST_FAILURES:
            self.forestalled(held)
            if held.cancel:
                return _CANCELLED
            return Ending.never_ran(reason="infrastructure", message=why)
        try:
            self._workspaces.of(command.project_id, command.workspace_life).clean(command.id)
        except (Unavailable, WorkspaceUnavailable) as exc:
            log.warning("left to the sweep: %s", exc)
        reach("requeue.before")
        requeued = insist(held, self._stopping, lambda: self._requeue(held))
        reach("requeue.after")
        return _CANCELLED if requeued is None else None

    def from_silence(self, held: Held, why: str, *, since: float) -> Ending | None:
        """For one whose workspace does not answer. What can be stopped may be on its way: a node, a
        kubelet, the API. Asking it took up a runner's place `since` then (monotonic): others are
        to have more of that."""
        if not self._workspaces.stoppable:
            return self.put_back(held, why)
        alone_s = self._rules.away_share * (time.monotonic() - since)
        return self.wait_for(held, why, again_s=min(_LONGEST_ALONE_S, alone_s))

    def wait_for(self, held: Held, why: str, *, again_s: float = 0.0) -> Ending | None:
        """Back into the queue, where it waits for its workspace: no runner's place is taken up by
        that, nor one under its key's limit. `again_s`: it is not looked at before."""
        again_s = max(WAIT_AGAIN_S, again_s)
        if held.cancel:
            return _CANCELLED
        if held.claim.waited_s > self._rules.workspace_s:
            return Ending.never_ran(reason="workspace_not_ready", message=why)
        if insist(held, self._stopping, lambda: self._hold(held, why, again_s)) is None:
            return _CANCELLED
        self._on_wait(again_s)
        reach("wait.after")
        return None

    def forestalled(self, held: Held) -> bool:
        """Whether it is certain now that it never starts."""
        command = held.claim.command
        if command.started_at is not None:
            return False
        try:
            workspace = self._workspaces.of(command.project_id, command.workspace_life)
            # In this order: the files may be others by then.
            planted = workspace.forestall(command.id)
            return planted and Asked.of(command).lost_with(workspace, command.id) is None
        except (WorkspaceUnavailable, CommandRefused):
            return False

    def _hold(self, held: Held, why: str, for_s: float) -> float | None:
        with self._transaction() as tx:
            waited_s = tx.queue.wait(*held.pair, why, most_s=self._most_s, alone_s=for_s)
            if waited_s is not None:
                tx.projects.hold(held.claim.command.project_id, for_s)
                if held.claim.waits == 0:
                    facts.command_waits(tx, held.claim.command)
            return waited_s

    def _requeue(self, held: Held) -> int | None:
        with self._transaction() as tx:
            failures = tx.queue.requeue(*held.pair, delay_s=2.0**held.claim.failures)
            if failures is not None:
                facts.command_requeued(tx, held.claim.command, failures)
            return failures
