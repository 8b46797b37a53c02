"""What is left where following a command fails again and again by an error of rdev's own: to wait
for its end in its workspace, and to say as much of it as is known.

A command that runs is not declared failed, nor ended for what rdev did wrong: it goes on, until it
ends, or is cancelled, or its time is over. Its output is carried at the end, plainly. Only what
cannot be carried even so turns its end into `failed`, with the exit code that it had.
"""

import logging
import time
from collections.abc import Callable

from rdev.domain.commands import Claim, Ending, Position, Status, Stopping, one_line, refused
from rdev.domain.events import START
from rdev.errors import Unavailable, WorkspaceUnavailable
from rdev.ports import EventStreams, Liveness, Workspace
from rdev.services.asked import TRACE_GONE, Asked
from rdev.services.following import NO_LIVE_PROCESS, NOT_STARTED
from rdev.services.leases import LeaveIt
from rdev.services.output import carry_output, sha256_of
from rdev.services.rules import Rules
from rdev.services.stops import Stops

log = logging.getLogger(__name__)


class Awaiting:
    """For a command that may have started. The callables are as Following's; `why` says what
    went wrong, for the record."""

    asked_to_start = seen_to_start = True

    def __init__(
        self,
        claim: Claim,
        workspace: Workspace,
        streams: EventStreams,
        rules: Rules,
        *,
        why: str,
        interrupted: Callable[[], None],
        cancel_asked: Callable[[], bool],
        on_start: Callable[[bool], None],
        on_running: Callable[[], None],
        on_stop: Callable[[Stopping], None],
    ) -> None:
        self._command = claim.command
        self._asked = Asked.of(claim.command)
        self._workspace = workspace
        self._streams = streams
        self._rules = rules
        self._why = why
        self._interrupted = interrupted
        self._cancel_asked = cancel_asked
        self.answered_at = 0.0
        self._on_start = on_start
        self._on_running = on_running
        self._stops = Stops(
            claim,
            workspace,
            kill_grace_s=rules.kill_grace_s,
            cancel_asked=cancel_asked,
            on_stop=on_stop,
        )

    def to_its_end(self) -> Ending:
        """Raises WorkspaceUnavailable and StoreUnavailable: then call it again."""
        command_id = self._command.id
        while True:
            self._interrupted()
            liveness = self._workspace.liveness(command_id)
            self.answered_at = time.monotonic()
            if liveness in NOT_STARTED and (ending := self._never_started()):
                return ending
            if liveness is Liveness.CANCELLED:
                return self._prevented()
            if liveness in NO_LIVE_PROCESS:
                return self._ending()
            self._on_running()
            self._stops.runs()
            self._stops.end_if_due(0)
            self._workspace.wait(command_id, self._stops.next_look_s(self._rules.wait_s))

    def _never_started(self) -> Ending | None:
        ran = self._command.started_at is not None
        why: str | None = None
        if not ran:
            if not self._workspace.forestall(self._command.id):
                return None
            # In this order: the files may be others by then.
            why = self._asked.lost_with(self._workspace, self._command.id)
            if why is None:
                return self._prevented()
        why = why or self._workspace.loss(self._command.id) or TRACE_GONE
        tail = self._streams.tail(self._command.project_id, self._command.id)
        return Ending(
            Status.LOST,
            reason="workspace_lost",
            reason_message=one_line(why),
            output=tail.position,
            ran=ran,
        )

    def _prevented(self) -> Ending:
        if self._cancel_asked():
            return Ending(Status.CANCELLED, ran=False)
        return Ending.never_ran(reason="infrastructure", message=self._why)

    def _ending(self) -> Ending:
        command_id, over_at = self._command.id, time.monotonic()
        if self._workspace.survivors(command_id):
            self._workspace.signal(command_id, "KILL")
        ended, stop = self._workspace.exit(command_id), self._stops.why
        exit_code = ended.exit_code if ended else None
        if ended is None and stop is None and (refusal := self._workspace.refusal(command_id)):
            return refused(*refusal)
        position, whole = self._carry()
        status: Status = Status.LOST
        reason: str | None = "killed_outside"
        message: str | None = None
        if stop is not None:
            status, reason = stop.status, stop.reason
        elif ended is not None and whole:
            status = Status.FAILED if exit_code else Status.SUCCEEDED
            reason = "exit_code" if exit_code else None
        elif ended is not None:
            status, reason = Status.FAILED, "infrastructure"
        if not whole:
            message = one_line(
                f"{self._why} It ended with {exit_code}, and of its output only the first "
                f"{position.stdout} bytes of stdout and {position.stderr} of stderr are kept."
            )
        return Ending(
            status=status,
            exit_code=exit_code,
            signal=self._stops.signal,
            reason=reason,
            reason_message=message,
            output=position,
            truncated=self._stops.too_much,
            stdout_sha256=sha256_of(self._workspace, command_id, "stdout") if whole else None,
            stderr_sha256=sha256_of(self._workspace, command_id, "stderr") if whole else None,
            over_at=over_at,
        )

    def _carry(self) -> tuple[Position, bool]:
        """Where the stream ends, and whether that is all."""
        place = (self._command.project_id, self._command.id)
        if self._stops.too_much:
            return self._streams.tail(*place).position, False
        try:
            self._on_start(self._streams.tail(*place).last_id == START)
            position = carry_output(self._workspace, self._streams, self._command)
            return position, not self._left_after(position)
        except (Unavailable, WorkspaceUnavailable, LeaveIt):
            raise
        except Exception:
            log.exception("the output of %s cannot be carried", self._command.id)
        return self._streams.tail(*place).position, False

    def _left_after(self, position: Position) -> bool:
        ends = (("stdout", position.stdout), ("stderr", position.stderr))
        return any(self._workspace.read(self._command.id, *end, 1) for end in ends)
