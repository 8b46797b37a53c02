"""One command, seen through: started in its workspace, followed to its end, byte by byte.

Any runner may do this at any time, also two at once: the workspace starts a command at most once,
the stream takes each byte once. Where the stream ends is where following goes on.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from rdev.domain.argv import argv_of, stdin_of
from rdev.domain.commands import Claim, Command, Ending, Kind, Launch, Position, Status, Stopping
from rdev.domain.events import CLAUDE, OUTPUT, START, Chunk, split_utf8
from rdev.errors import CommandRefused
from rdev.failpoints import reach
from rdev.ports import EventStreams, Liveness, Workspace

_BATCH_BYTES = 32 * 1024
_BATCH_S = 0.02
_START_LOOK_S = 0.02
_READ_BYTES = 256 * 1024
_START_AGAIN_S = 2.0
_NEVER_STARTS_S = 30.0
_NOT_STARTED = (Liveness.UNKNOWN, Liveness.PREPARED)
_NO_LIVE_PROCESS = (Liveness.ENDED, Liveness.DEAD, Liveness.CANCELLED)


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every command."""

    kill_grace_s: float
    wait_s: float = 0.5
    """How long at most between two looks at a command that is quiet."""


@dataclass(slots=True)
class _Stop:
    """That rdev is ending the command, why, and how far it has got."""

    why: Stopping
    signal: str | None = None
    kill_at: float = 0.0


class Following:
    """Follows one command. `interrupted` raises to leave it as it is (handover, lost lease);
    `cancel_asked` tells whether its cancel was asked for; `on_start` records the start, and is
    told whether the stream is empty; `on_stop` records that rdev ends it, before it does;
    `feed` carries input into its stdin, and says in how many seconds to call it again."""

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
        on_start: Callable[[bool], None],
        on_stop: Callable[[Stopping], None],
        feed: Callable[[], float],
    ) -> None:
        self._command = claim.command
        self._claim = claim
        self._env = env
        self._workspace = workspace
        self._streams = streams
        self._rules = rules
        self._interrupted = interrupted
        self._cancel_asked = cancel_asked
        self._on_start = on_start
        self._on_stop = on_stop
        self._feed = feed
        self._feed_in_s = rules.wait_s
        self._position = Position()
        self._stream_empty = False
        self.launched = False
        self._launched_at = self._asked_first_at = time.monotonic()
        self._digests = {
            "stdout": _Digest(),
            "stderr": _Digest(),
        }
        self._running_since: float | None = None
        self._start_noted = False
        self._stop = _Stop(claim.stopping) if claim.stopping else None
        self._flushed_at = 0.0

    def to_its_end(self) -> Ending:
        """Raises WorkspaceUnavailable and StoreUnavailable: then call it again."""
        command_id = self._command.id
        ending = self._prevented() or self._start()
        if ending is not None:
            return ending
        tail = self._streams.tail(self._command.project_id, command_id)
        self._position, self._stream_empty = tail.position, tail.last_id == START
        while True:
            self._interrupted()
            # Liveness before the read: what is read after the end is all there is.
            liveness = self._workspace.liveness(command_id)
            if not self._start_noted:
                ending = self._until_started(liveness)
                if ending is not None:
                    return ending
            over = liveness in _NO_LIVE_PROCESS
            # Never ahead of command.started: its id lies before that of any output.
            moved = self._start_noted and self._pump(final=over)
            if over and not moved:
                return self._ending(liveness)
            if self._start_noted:
                self._end_if_due()
            if liveness is Liveness.RUNNING:
                self._feed_in_s = self._feed()
            if not moved:
                self._workspace.wait(command_id, self._next_look_s())
            elif not over:
                self._settle()

    # --- the start -------------------------------------------------------------------------------

    def _start(self) -> Ending | None:
        """Have it started; its end where it never will be. What is known to have started is not
        asked for again: should its token be gone with the whole workspace, it ran all the same."""
        if self._command.started_at is not None:
            return None
        reach("start.before")
        try:
            self._workspace.start(self._launch())
        except CommandRefused as refused:
            if self._workspace.forestall(self._command.id):
                return Ending(Status.FAILED, reason=refused.reason, ran=False)
        reach("start.after")
        self.launched = True
        self._launched_at = time.monotonic()
        return None

    def _until_started(self, liveness: Liveness) -> Ending | None:
        """Until its start was seen and noted. An end where it never started."""
        if liveness in _NOT_STARTED:
            return self._not_yet()
        if liveness is Liveness.CANCELLED:
            # Planted by us or by a runner before us, who died before it could close the record.
            return self._never_ran()
        refusal = self._workspace.refusal(self._command.id)
        if refusal is not None:
            return Ending(Status.FAILED, reason=refusal[0], ran=False)
        if self._running_since is None:
            self._running_since = time.monotonic()
        self._on_start(self._stream_empty)
        self._start_noted = True
        return None

    def _not_yet(self) -> Ending | None:
        if self._command.started_at is not None:
            return Ending(Status.LOST, reason="workspace_lost")
        ending = self._prevented()
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
        """Make sure that it never starts; None where it has."""
        if self._command.started_at is not None:
            return None
        return self._never_ran() if self._workspace.forestall(self._command.id) else None

    def _never_ran(self) -> Ending:
        if self._cancel_asked():
            return Ending(Status.CANCELLED, ran=False)
        return Ending(Status.FAILED, reason="infrastructure", ran=False)

    def _launch(self) -> Launch:
        command = self._command
        limits = command.spec.get("limits", {})
        return Launch(
            command_id=command.id,
            project_id=command.project_id,
            argv=argv_of(command.kind, command.spec),
            env=self._env,
            cwd=command.spec.get("cwd", "."),
            stdin=stdin_of(command.kind, command.spec, self._claim.stdin),
            stdin_open=command.spec.get("stdin_open", False),
            memory_mb=limits.get("memory_mb"),
            processes=limits.get("processes"),
        )

    # --- output ----------------------------------------------------------------------------------

    def _pump(self, *, final: bool) -> bool:
        """Carry what is new from the files to the stream. Whether anything was."""
        moved = False
        for stream in ("stdout", "stderr"):
            offset = getattr(self._position, stream)
            data = self._workspace.read(self._command.id, stream, offset, _READ_BYTES)
            size = self._whole(stream, data, final=final)
            if not size:
                continue
            moved = True
            chunk = data[:size]
            self._digests[stream].feed(offset, chunk)
            reach("append.before")
            before = self._position
            self._position = self._streams.append_all(
                self._command.project_id, self._command.id, self._chunks(stream, chunk)
            )
            reach("append.after")
            if self._position.stdout < before.stdout or self._position.stderr < before.stderr:
                self._begin_anew()
        if moved:
            self._flushed_at = time.monotonic()
        return moved

    def _begin_anew(self) -> None:
        """Redis lost the stream, or its end: where it is empty it begins as it began before."""
        if self._start_noted and self._position == Position():
            self._on_start(True)

    def _chunks(self, stream: str, data: bytes) -> list[Chunk]:
        """One entry; of Claude's stream, one a message."""
        if self._command.kind is not Kind.CLAUDE or stream != "stdout":
            return [Chunk(stream, self._position, data)]
        chunks, at = [], self._position
        for line in data.splitlines(keepends=True):
            message = line.startswith(b"{") and line.endswith(b"}\n")
            chunks.append(Chunk(stream, at, line, CLAUDE if message else OUTPUT))
            at = Position(at.stdout + len(line), at.stderr)
        return chunks

    def _whole(self, stream: str, data: bytes, *, final: bool) -> int:
        """How many of these bytes may go out: no half character, no half line of Claude's."""
        if final and len(data) < _READ_BYTES:
            return len(data)
        if self._command.kind is Kind.CLAUDE and stream == "stdout" and b"\n" in data:
            return data.rindex(b"\n") + 1
        if self._command.kind is Kind.CLAUDE and stream == "stdout" and len(data) < _READ_BYTES:
            return 0
        return split_utf8(data)

    def _settle(self) -> None:
        """Let output gather for up to 20 ms or 32 kB, unless the command ends."""
        until = self._flushed_at + _BATCH_S
        command_id = self._command.id
        while (left := until - time.monotonic()) > 0:
            self._workspace.wait(command_id, left)
            if self._workspace.liveness(command_id) in _NO_LIVE_PROCESS:
                return
            for stream in ("stdout", "stderr"):
                ahead = getattr(self._position, stream) + _BATCH_BYTES
                if self._workspace.read(command_id, stream, ahead, 1):
                    return
            time.sleep(min(0.002, max(0.0, until - time.monotonic())))

    # --- ends that rdev brings about -------------------------------------------------------------

    def _end_if_due(self) -> None:
        """TERM, after the grace KILL, and KILL again for what was being forked meanwhile."""
        stop = self._stop or self._decide_to_stop()
        if stop is None:
            return
        if stop.signal is None:
            stop.signal = "TERM"
            stop.kill_at = time.monotonic() + self._rules.kill_grace_s
            reach("stop.before")
        elif time.monotonic() >= stop.kill_at:
            stop.signal = "KILL"
        else:
            return
        self._workspace.signal(self._command.id, stop.signal)

    def _decide_to_stop(self) -> _Stop | None:
        if self._output_exceeded():
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
        """By this machine's clock since the start; by the record's where another runner began."""
        if self._running_since is None:
            return False
        return time.monotonic() - self._running_since > self._time_left_s()

    def _time_left_s(self) -> float:
        started = self._command.started_at
        if started is None:
            return self._command.timeout_s
        ran_before = self._claim.running_s
        return max(0.0, self._command.timeout_s - ran_before)

    def _output_exceeded(self) -> bool:
        limit: int | None = self._command.spec.get("limits", {}).get("output_mb")
        if limit is None:
            return False
        written = self._position.stdout + self._position.stderr
        return written > limit * 1_000_000

    def _next_look_s(self) -> float:
        wait = min(self._rules.wait_s, self._feed_in_s)
        if self._stop is not None:
            return min(wait, 0.05)
        if self._running_since is not None:
            left = self._running_since + self._time_left_s() - time.monotonic()
            return max(0.001, min(wait, left + 0.001))
        # Nothing in the command's files tells of a start that writes nothing.
        return _START_LOOK_S

    def _ending(self, liveness: Liveness) -> Ending:
        command_id = self._command.id
        if self._workspace.survivors(command_id):
            self._workspace.signal(command_id, "KILL")
        ended = self._workspace.exit(command_id)
        if ended is None and self._stop is None:
            # The leader declined between two looks, so it was taken for started.
            refusal = self._workspace.refusal(command_id)
            if refusal is not None:
                return Ending(Status.FAILED, reason=refusal[0], ran=False)
        status: Status = Status.LOST
        reason: str | None = "killed_outside"
        if self._stop is not None:
            status, reason = self._stop.why.status, self._stop.why.reason
        elif ended is not None and liveness is Liveness.ENDED:
            status = Status.SUCCEEDED if ended.exit_code == 0 else Status.FAILED
            reason = None if ended.exit_code == 0 else "exit_code"
        usage = self._workspace.usage(command_id)
        if reason == "exit_code" and usage.get("oom_kills"):
            reason = "oom_killed"
        return Ending(
            status=status,
            exit_code=ended.exit_code if ended else None,
            signal=self._stop.signal if self._stop else None,
            reason=reason,
            output=self._position,
            stdout_sha256=self._digest("stdout"),
            stderr_sha256=self._digest("stderr"),
            truncated=reason == "output_limit",
            usage=usage,
        )

    def _digest(self, stream: str) -> str:
        return self._digests[stream].whole(
            lambda offset: self._workspace.read(self._command.id, stream, offset, _READ_BYTES)
        )


def carry_output(workspace: Workspace, streams: EventStreams, command: Command) -> None:
    """Fill a stream that Redis lost from the workspace's files, as far as they are there."""
    position = streams.tail(command.project_id, command.id).position
    while True:
        before = position
        for stream in ("stdout", "stderr"):
            data = workspace.read(command.id, stream, getattr(position, stream), _READ_BYTES)
            data = data[: split_utf8(data, final=len(data) < _READ_BYTES)]
            if data:
                chunk = Chunk(stream, position, data)
                position = streams.append_all(command.project_id, command.id, [chunk])
        if position == before:
            return


class _Digest:
    """SHA-256 of a stream whose parts come twice, or whose beginning another runner carried."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._size = 0

    def feed(self, offset: int, data: bytes) -> None:
        if offset <= self._size < offset + len(data):
            fresh = data[self._size - offset :]
            self._sha256.update(fresh)
            self._size += len(fresh)

    def whole(self, read: Callable[[int], bytes]) -> str:
        while data := read(self._size):
            self.feed(self._size, data)
        return self._sha256.hexdigest()
