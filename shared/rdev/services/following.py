"""One command, seen through: started in its workspace, followed to its end, byte by byte.

Any runner may do this at any time, also two at once: the workspace starts a command at most once,
the stream takes each byte once. Where the stream ends is where following goes on.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rdev.domain.argv import launch_of
from rdev.domain.commands import Claim, Ending, Status, Stopping, one_line, refused
from rdev.errors import CommandRefused, WorkspaceUnavailable
from rdev.failpoints import reach
from rdev.ports import EventStreams, Liveness, Workspace, metrics, tracing
from rdev.services.asked import TRACE_GONE, Asked
from rdev.services.output import Output
from rdev.services.rules import Rules
from rdev.services.stops import Stops

_START_LOOK_S = 0.02
_RECORD_START_S = 0.05
"""What ends sooner has its start recorded with its end: a transaction less."""
_START_AGAIN_S = 2.0
_NEVER_STARTS_S = 30.0
NOT_STARTED = (Liveness.UNKNOWN, Liveness.PREPARED)
NO_LIVE_PROCESS = (Liveness.ENDED, Liveness.DEAD, Liveness.CANCELLED)


@contextmanager
def _timed() -> Iterator[None]:
    began, result = time.monotonic(), "unavailable"
    try:
        yield
        result = "started"
    except CommandRefused:
        result = "refused"
        raise
    finally:
        metrics.WORKSPACE_STARTS.record(time.monotonic() - began, result)


def _call(what: str, *, leaf: bool = False) -> AbstractContextManager[tracing.Span]:
    """The span of what a workspace is asked, as the conventions for remote calls have it."""
    attributes = {"rpc.system.name": "rdev", "rpc.method": f"workspace/{what}"}
    return tracing.span(f"workspace {what}", attributes, kind="client", leaf=leaf)


class Following:
    """Follows one command. `interrupted` raises to leave it as it is (handover, lost lease);
    `cancel_asked` tells whether its cancel was asked for; `on_ask` records in which life of its
    files, and boot of its machine, the workspace is asked to start it; `on_start` tells of the
    start, and is told whether the stream is empty; `on_running` records it of a command that runs
    on; `on_stop` records that rdev ends it, before it does; `on_output` is told of the first
    output, unless there was some before; `feed` carries input into its stdin, and says in how many
    seconds to call it again."""

    def __init__(
        self,
        claim: Claim,
        env: dict[str, str],
        workspace: Workspace,
        streams: EventStreams,
        rules: Rules,
        *,
        interrupted: Callable[[], None],
        cancel_asked: Callable[[], bool],
        on_ask: Callable[[str, str | None], None],
        on_start: Callable[[bool], None],
        on_running: Callable[[], None],
        on_stop: Callable[[Stopping], None],
        on_output: Callable[[], None],
        feed: Callable[[], float],
    ) -> None:
        self._command = claim.command
        self._claim = claim
        self._env = env
        self._workspace = workspace
        self._rules = rules
        self._interrupted = interrupted
        self._cancel_asked = cancel_asked
        self._on_ask = on_ask
        self._on_start = on_start
        self._on_running = on_running
        self._on_output = on_output
        self._output_seen = False
        self._over_at: float | None = None
        self.answered_at = 0.0
        """When its workspace last did (monotonic)."""
        self._feed = feed
        self._feed_in_s = rules.wait_s
        self._stream_empty = False
        self._asked = Asked.of(claim.command)
        self.asked_to_start = False
        """Whether the workspace was, so that it may have begun."""
        self._launched_at = self._asked_first_at = time.monotonic()
        self._start_noted = False
        self._record_start_at = math.inf
        self._output = Output(claim.command, workspace, streams, on_lost=self._begin_anew)
        self._stops = Stops(
            claim,
            workspace,
            kill_grace_s=rules.kill_grace_s,
            cancel_asked=cancel_asked,
            on_stop=on_stop,
        )

    @property
    def seen_to_start(self) -> bool:
        return self._start_noted

    def to_its_end(self) -> Ending:
        """Raises WorkspaceUnavailable and StoreUnavailable: then call it again."""
        ending = self._forgotten() or self._prevented() or self._start()
        if ending is not None:
            return ending
        self._stream_empty = self._output.join()
        self._output_seen = self._output_seen or self._output.written > 0
        # A leaf: its calls of Redis are as many as pieces of output.
        with _call("follow", leaf=True):
            seen = self._until_over()
        if isinstance(seen, Ending):
            return seen
        with _call("end"):
            return self._ending(seen)

    def _until_over(self) -> Liveness | Ending:
        """What its workspace says once nothing of it is alive and all output is carried; an end
        where it never started."""
        command_id = self._command.id
        while True:
            self._interrupted()
            # Liveness before the read: what is read after the end is all there is.
            liveness = self._workspace.liveness(command_id)
            self.answered_at = time.monotonic()
            ending = self._until_started(liveness)
            if ending is not None:
                return ending
            over = liveness in NO_LIVE_PROCESS
            # Never ahead of command.started: its id lies before that of any output.
            if over and self._over_at is None:
                self._over_at = time.monotonic()
            carries = self._start_noted and not self._stops.too_much
            moved = carries and self._output.carry(final=over)
            if moved and not self._output_seen:
                self._output_seen = True
                self._on_output()
            if over and not moved:
                return liveness
            if self._start_noted:
                if not over and time.monotonic() >= self._record_start_at:
                    self._on_running()
                    self._record_start_at = math.inf
                self._stops.end_if_due(self._output.written)
            if liveness is Liveness.RUNNING:
                self._feed_in_s = self._feed()
            if not moved:
                self._workspace.wait(command_id, self._next_look_s())
            elif not over:
                self._output.settle(self._has_ended)

    # --- the start -------------------------------------------------------------------------------

    def _start(self) -> Ending | None:
        """Have it started; its end where it never will be. What is known to have started is not
        asked for again: should its token be gone with the whole workspace, it ran all the same."""
        if self._surely_started:
            return None
        asked_before, self.asked_to_start = self.asked_to_start, True
        try:
            self._ask_to_start()
        except CommandRefused as exc:
            if (ending := self._forestalled()) is not None:
                lost = ending.status is Status.LOST
                return ending if lost else Ending.never_ran(exc.reason, exc.message)
        except WorkspaceUnavailable:
            self.asked_to_start = asked_before  # this time it has certainly started nothing
            raise
        reach("start.after")
        self._launched_at = time.monotonic()
        return None

    @property
    def _surely_started(self) -> bool:
        return self._start_noted or self._command.started_at is not None

    def _ask_to_start(self) -> None:
        if (life := self._workspace.life()) is not None:
            boot_id = self._workspace.boot_id()
            self._on_ask(life, boot_id)
            self._asked = self._asked.also(life, boot_id)
        reach("start.before")
        with _call("start"), _timed():
            self._workspace.start(launch_of(self._claim, self._env, self._asked.life))

    def _forgotten(self) -> Ending | None:
        """Its end where it may have been started and the trace of that is gone: nobody can tell any
        more, so it is not started again."""
        if self._surely_started:
            return None
        lost = self._asked.lost_with(self._workspace, self._command.id)
        return self._workspace_lost(lost, ran=False) if lost else None

    def _workspace_lost(self, why: str, *, ran: bool) -> Ending:
        self._output.join()  # another runner may have carried some
        return Ending(
            Status.LOST,
            reason="workspace_lost",
            reason_message=one_line(why),
            output=self._output.position,
            ran=ran or self._output.written > 0,
        )

    def _lost_as_it_ran(self) -> Ending:
        why = self._workspace.loss(self._command.id) or TRACE_GONE
        return self._workspace_lost(why, ran=True)

    def _until_started(self, liveness: Liveness) -> Ending | None:
        """Until its start was seen and noted. An end where it never started, or where nothing
        knows of it any more."""
        if self._start_noted:
            return self._lost_as_it_ran() if liveness in NOT_STARTED else None
        if liveness in NOT_STARTED:
            return self._not_yet()
        if liveness is Liveness.CANCELLED:
            # Planted by us or by a runner before us, who died before it could close the record.
            return self._never_ran()
        refusal = self._workspace.refusal(self._command.id)
        if refusal is not None:
            return refused(*refusal)
        self._stops.runs()
        self._on_start(self._stream_empty)
        self._start_noted = True
        self._record_start_at = time.monotonic() + _RECORD_START_S
        return None

    def _not_yet(self) -> Ending | None:
        if self._surely_started:
            return self._lost_as_it_ran()
        ending = self._forgotten() or self._prevented()
        now = time.monotonic()
        if ending is None and now - self._asked_first_at > _NEVER_STARTS_S:
            return self._forestalled()
        if ending is None and now - self._launched_at > _START_AGAIN_S:
            return self._start()  # the first supervisor may have been killed
        return ending

    def _prevented(self) -> Ending | None:
        """Its end, if it is to be cancelled and has not started."""
        return self._forestalled() if self._cancel_asked() else None

    def _forestalled(self) -> Ending | None:
        """Make sure that it never starts; None where it has. Which files were asked is seen
        afterwards: they may have changed until then."""
        if self._surely_started:
            return None
        if not self._workspace.forestall(self._command.id):
            return None
        return self._forgotten() or self._never_ran()

    def _never_ran(self) -> Ending:
        if self._cancel_asked():
            return Ending(Status.CANCELLED, ran=False)
        seconds = f"{_NEVER_STARTS_S:g} seconds"
        return Ending.never_ran(
            reason="infrastructure", message=f"It was not seen to start within {seconds}."
        )

    # --- while it runs, and its end --------------------------------------------------------------

    def _begin_anew(self) -> None:
        """Redis lost the stream: it begins as it began before."""
        if self._start_noted:
            self._on_start(True)

    def _has_ended(self) -> bool:
        return self._workspace.liveness(self._command.id) in NO_LIVE_PROCESS

    def _next_look_s(self) -> float:
        to_record_s = max(0.0, self._record_start_at - time.monotonic())
        wait_s = min(self._rules.wait_s, self._feed_in_s, to_record_s)
        if not self._start_noted:
            # Nothing in the command's files tells of a start that writes nothing.
            wait_s = _START_LOOK_S
        return self._stops.next_look_s(wait_s)

    def _ending(self, liveness: Liveness) -> Ending:
        command_id = self._command.id
        stop = self._stops.why
        # Of one that ended by itself its supervisor has seen to that; a look costs milliseconds.
        seen_to = liveness is Liveness.ENDED and stop is None
        if not seen_to and self._workspace.survivors(command_id):
            self._workspace.signal(command_id, "KILL")
        ended = self._workspace.exit(command_id)
        if ended is None and stop is None:
            # The leader declined between two looks, so it was taken for started.
            refusal = self._workspace.refusal(command_id)
            if refusal is not None:
                return refused(*refusal)
        status: Status = Status.LOST
        reason: str | None = "killed_outside"
        if stop is not None:
            status, reason = stop.status, stop.reason
        elif ended is not None and liveness is Liveness.ENDED:
            status = Status.SUCCEEDED if ended.exit_code == 0 else Status.FAILED
            reason = None if ended.exit_code == 0 else "exit_code"
        why = self._workspace.loss(command_id) if status is Status.LOST else None
        usage = self._workspace.usage(command_id)
        if reason == "exit_code" and usage.get("oom_kills"):
            reason = "oom_killed"
        return Ending(
            status=status,
            exit_code=ended.exit_code if ended else None,
            signal=self._stops.signal,
            reason=reason,
            reason_message=one_line(why) if why else None,
            output=self._output.position,
            stdout_sha256=self._output.sha256("stdout"),
            stderr_sha256=self._output.sha256("stderr"),
            truncated=self._stops.too_much,
            usage=usage,
            over_at=self._over_at,
        )
