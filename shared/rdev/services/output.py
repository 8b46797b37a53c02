"""One command's output on its way from the files of its workspace into its stream.

Where the stream ends is where it goes on, so any runner may do this, again or at once.
"""

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime

from rdev.domain.commands import Command, Kind, Position
from rdev.domain.events import CLAUDE, OUTPUT, START, Chunk, split_utf8
from rdev.failpoints import reach
from rdev.ports import EventStreams, Workspace, metrics

_BATCH_BYTES = 32 * 1024
_BATCH_S = 0.02
_READ_BYTES = 256 * 1024
_STREAMS = ("stdout", "stderr")


class Output:
    """`position` is how far the stream holds it. `on_lost` is called where Redis has lost the
    whole stream meanwhile, before anything is appended to the new one."""

    def __init__(
        self,
        command: Command,
        workspace: Workspace,
        streams: EventStreams,
        *,
        on_lost: Callable[[], None],
    ) -> None:
        self.position = Position()
        self._command = command
        self._workspace = workspace
        self._streams = streams
        self._on_lost = on_lost
        self._digests = {stream: _Digest() for stream in _STREAMS}
        self._flushed_at = 0.0
        self._began = False

    @property
    def written(self) -> int:
        """Bytes of both streams."""
        return self.position.stdout + self.position.stderr

    def join(self) -> bool:
        """Find out where the stream ends. Whether it is empty."""
        tail = self._streams.tail(self._command.project_id, self._command.id)
        self.position = tail.position
        return tail.last_id == START

    def carry(self, *, final: bool) -> bool:
        """Carry what is new from the files to the stream. Whether anything was."""
        moved = False
        for stream in _STREAMS:
            offset = getattr(self.position, stream)
            data = self._workspace.read(self._command.id, stream, offset, _READ_BYTES)
            size = self._whole(stream, data, final=final)
            if size:
                moved = True
                self._append(stream, offset, data[:size])
        if moved:
            self._flushed_at = time.monotonic()
        return moved

    def settle(self, ended: Callable[[], bool]) -> None:
        """Let output gather for up to 20 ms or 32 kB, unless the command ends."""
        until = self._flushed_at + _BATCH_S
        command_id = self._command.id
        while (left := until - time.monotonic()) > 0:
            self._workspace.wait(command_id, left)
            if ended():
                return
            for stream in _STREAMS:
                ahead = getattr(self.position, stream) + _BATCH_BYTES
                if self._workspace.read(command_id, stream, ahead, 1):
                    return
            time.sleep(min(0.002, max(0.0, until - time.monotonic())))

    def sha256(self, stream: str) -> str | None:
        """Of all that was carried: to be asked at the end. None where another runner carried some
        that is gone from the workspace since."""
        carried = getattr(self.position, stream)

        def read(offset: int) -> bytes:
            most = min(_READ_BYTES, carried - offset)
            data = self._workspace.read(self._command.id, stream, offset, most) if most > 0 else b""
            return data[: max(0, most)]

        whole = self._digests[stream].whole(read)
        return whole if self._digests[stream].size == carried else None

    def _append(self, stream: str, offset: int, data: bytes) -> None:
        self._digests[stream].feed(offset, data)
        first = self.position == Position()
        reach("append.before")
        self.position = self._streams.append_all(
            self._command.project_id, self._command.id, self._chunks(stream, data), begun=True
        )
        reach("append.after")
        self._count(stream, len(data), first=first)
        if self.position == Position():  # although there was something to append
            self._on_lost()

    def _count(self, stream: str, size: int, *, first: bool) -> None:
        metrics.COMMAND_OUTPUT.add(stream, by=size)
        if first and not self._began:
            self._began = True
            took = datetime.now(UTC) - self._command.queued_at
            metrics.COMMAND_FIRST_OUTPUT.record(took.total_seconds(), self._command.kind.value)

    def _chunks(self, stream: str, data: bytes) -> list[Chunk]:
        """One entry; of Claude's stream, one a message."""
        if self._command.kind is not Kind.CLAUDE or stream != "stdout":
            return [Chunk(stream, self.position, data)]
        chunks, at = [], self.position
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


def carry_output(
    workspace: Workspace, streams: EventStreams, command: Command, until: Position | None = None
) -> Position:
    """Fill a stream that is behind from the workspace's files, as far as they are there, or `until`
    where it is to end. Plainly: for a command that has ended. Where the stream ends then."""
    position = streams.tail(command.project_id, command.id).position
    while True:
        before = position
        for stream in _STREAMS:
            data = workspace.read(command.id, stream, getattr(position, stream), _READ_BYTES)
            if until is not None:
                data = data[: max(0, getattr(until, stream) - getattr(position, stream))]
            data = data[: split_utf8(data, final=len(data) < _READ_BYTES)]
            if data:
                reach("carry.before")
                chunk = Chunk(stream, position, data)
                position = streams.append_all(command.project_id, command.id, [chunk], begun=True)
        if position == before:
            return position


def sha256_of(workspace: Workspace, command_id: str, stream: str) -> str:
    """Of one of an ended command's files."""
    return _Digest().whole(lambda offset: workspace.read(command_id, stream, offset, _READ_BYTES))


class _Digest:
    """SHA-256 of a stream whose parts come twice, or whose beginning another runner carried."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.size = 0

    def feed(self, offset: int, data: bytes) -> None:
        if offset <= self.size < offset + len(data):
            fresh = data[self.size - offset :]
            self._sha256.update(fresh)
            self.size += len(fresh)

    def whole(self, read: Callable[[int], bytes]) -> str:
        while data := read(self.size):
            self.feed(self.size, data)
        return self._sha256.hexdigest()
