"""Ends that rdev brings about: a cancel, a timeout, too much output. TERM, after the grace KILL,
and KILL again for what was being forked meanwhile."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from rdev.domain.commands import Claim, Status, Stopping
from rdev.failpoints import reach
from rdev.ports import Workspace


@dataclass(slots=True)
class _Stop:
    """That rdev is ending the command, why, and how far it has got."""

    why: Stopping
    signal: str | None = None
    kill_at: float = 0.0


class Stops:
    """One command's. `cancel_asked` tells whether its cancel was asked for; `on_stop` records
    that rdev ends it, before it does."""

    def __init__(
        self,
        claim: Claim,
        workspace: Workspace,
        *,
        kill_grace_s: float,
        cancel_asked: Callable[[], bool],
        on_stop: Callable[[Stopping], None],
    ) -> None:
        self._claim = claim
        self._command = claim.command
        self._workspace = workspace
        self._kill_grace_s = kill_grace_s
        self._cancel_asked = cancel_asked
        self._on_stop = on_stop
        self._running_since: float | None = None
        self._stop = _Stop(claim.stopping) if claim.stopping else None

    @property
    def why(self) -> Stopping | None:
        """The end that was decided on, if one was."""
        return self._stop.why if self._stop else None

    @property
    def too_much(self) -> bool:
        """Whether it is ended for having written too much: then no more of it is carried."""
        return self._stop is not None and self._stop.why.reason == "output_limit"

    @property
    def signal(self) -> str | None:
        """The last signal that was sent."""
        return self._stop.signal if self._stop else None

    def runs(self) -> None:
        """Its time begins now, unless it has. Where another runner may have seen it begin, the
        workspace tells for how long it has been running; only where that cannot, the database's
        clock, which somebody may have set meanwhile."""
        if self._running_since is not None:
            return
        now = time.monotonic()
        recorded = self._command.started_at is not None
        if recorded or not self._claim.surely_first:
            ran_for_s = self._workspace.ran_for_s(self._command.id)
            if ran_for_s is None:
                ran_for_s = self._claim.running_s if recorded else 0.0
            now -= max(0.0, ran_for_s)
        self._running_since = now

    def end_if_due(self, written: int) -> None:
        """Send what is due, for a command that has written so many bytes."""
        stop = self._stop or self._decide(written)
        if stop is None:
            return
        if stop.signal is None:
            reach("stop.before")
            self._send(stop, "TERM")
            stop.kill_at = time.monotonic() + self._kill_grace_s
        elif time.monotonic() >= stop.kill_at:
            self._send(stop, "KILL")

    def _send(self, stop: _Stop, name: str) -> None:
        """Noted once it is sent: a workspace that does not answer gets it again."""
        self._workspace.signal(self._command.id, name)
        stop.signal = name

    def next_look_s(self, most_s: float) -> float:
        """In how many seconds there may be something to do."""
        if self._stop is not None:
            return min(most_s, 0.05)
        if self._running_since is None:
            return most_s
        left = self._running_since + self._command.timeout_s - time.monotonic()
        return max(0.001, min(most_s, left + 0.001))

    def _decide(self, written: int) -> _Stop | None:
        if self._output_exceeded(written):
            why = Stopping(Status.FAILED, "output_limit")
        elif self._timed_out():
            why = Stopping(Status.TIMED_OUT, "timeout")
        elif self._cancel_asked():
            why = Stopping(Status.CANCELLED, None)
        else:
            return None
        # What has ended by itself keeps its own end.
        if self._workspace.exit(self._command.id) is not None:
            return None
        self._on_stop(why)
        self._stop = _Stop(why)
        return self._stop

    def _timed_out(self) -> bool:
        if self._running_since is None:
            return False
        return time.monotonic() - self._running_since > self._command.timeout_s

    def _output_exceeded(self, written: int) -> bool:
        limit: int | None = self._command.spec.get("limits", {}).get("output_mb")
        return limit is not None and written > limit * 1_000_000
