"""When a command is given up whose workspace does not answer.

It is asked again, for its commands may well run on in it. But nothing is to be `running` for ever:
a workspace that is gone for good has taken its commands along; one that does not run has ended
them, and for what they left in it nobody waits for ever; and where even the time limit of a command
has been over for long, nobody waits any more for a workspace to tell of its end.
Meanwhile its commands do not stand in the way of those of other workspaces.
"""

import time

from rdev.domain.commands import Ending, Outage, Status, one_line
from rdev.errors import Unavailable, WorkspaceUnavailable, WorkspaceUnfit
from rdev.ports import EventStreams, Workspaces
from rdev.services.awaiting import Awaiting
from rdev.services.following import Following
from rdev.services.leases import Held
from rdev.services.lifecycle import Down, Lifecycle
from rdev.services.pauses import Missing
from rdev.services.rules import Rules


class GivingUp:
    """For one claim."""

    def __init__(
        self,
        held: Held,
        lifecycle: Lifecycle,
        workspaces: Workspaces,
        streams: EventStreams,
        rules: Rules,
    ) -> None:
        self._held = held
        self._lifecycle = lifecycle
        self._workspaces = workspaces
        self._streams = streams
        self._rules = rules
        self._gone, self._silent = Missing(rules.gone_s), Missing(rules.silent_s)
        before = held.claim.outage
        self._down = Missing(rules.workspace_s, for_s=before.down_s)
        self._failing = Missing(min(rules.down_s, rules.workspace_s), for_s=before.failing_s)
        self._slow = Missing(rules.aside_s)
        self._began = time.monotonic()
        self.seeing: Following | Awaiting | None = None
        """Who follows it."""
        held.outage = self._outage

    def end(self, why: WorkspaceUnavailable) -> Ending | None:
        """The end of a command whose workspace did not answer just now, with these words; None: it
        is to be asked again."""
        command = self._held.claim.command
        answered_at = self._answered_at
        if self._slow.for_long(missing=True, there_at=answered_at):
            self._held.step_aside()
        silent = self._silent.for_long(missing=True, there_at=answered_at)
        try:
            gone = self._why_gone(why)
            down = self._lifecycle.down(command.project_id)
            tail = self._streams.tail(command.project_id, command.id)
        except (Unavailable, WorkspaceUnavailable):
            return None
        taken_along = self._gone.for_long(missing=gone is not None, there_at=answered_at)
        ended = down is not None and self._stays_down(down, answered_at)
        if not (taken_along or ended) and not (silent and self._had_to_be_over()):
            return None
        ran = self._held.start_recorded or self._held.started_at is not None
        said = one_line(gone or (down.why if down else why.message))
        return Ending(
            Status.LOST,
            reason="workspace_lost",
            reason_message=said,
            output=tail.position,
            ran=ran,
        )

    @property
    def _answered_at(self) -> float:
        return self.seeing.answered_at if self.seeing else 0.0

    def _outage(self) -> Outage:
        """So that who takes over need not count anew: a runner lives shorter than some wait."""
        answered_at = self._answered_at
        return Outage(self._down.lasted_s(answered_at), self._failing.lasted_s(answered_at))

    def _why_gone(self, why: WorkspaceUnavailable) -> str | None:
        """Why the workspace is certainly gone with what ran in it; None: nobody can say that."""
        command = self._held.claim.command
        if isinstance(why, WorkspaceUnfit):  # it was replaced by one in which nothing can run
            place = self._workspaces.of(command.project_id, command.workspace_life)
            return place.loss(command.id)
        return self._lifecycle.gone(command.project_id)

    def _stays_down(self, down: Down, answered_at: float) -> bool:
        """Not asked while it runs: one that crashes again and again does so for a moment now and
        then, without an answer; of one that came up an answer is to be expected. One that is on its
        way has as much time as one has to come up."""
        too_slow = self._down.for_long(missing=True, there_at=answered_at)
        fails = self._failing.for_long(missing=not down.on_its_way, there_at=answered_at)
        return too_slow or fails

    def _had_to_be_over(self) -> bool:
        """For so long that its workspace could have come up again since."""
        claim = self._held.claim
        ran_s = claim.running_s + time.monotonic() - self._began
        return ran_s > claim.command.timeout_s + self._rules.workspace_s
