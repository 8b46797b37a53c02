"""A stdin that stays open: a file that grows, and supervisor.sh's feeder that copies it into the
command.

Bytes are written where they belong, not appended: two runners that write the same piece at once
write the same bytes to the same place. The feeder reads each byte once.
"""

import os
import re
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rdev.adapters.workspaces import plain_file, processes
from rdev.adapters.workspaces.processes import Process

MOST_UNREAD_BYTES = 256 * 1024
"""How far the file may be ahead of the feeder, which itself is ahead of the command by what a
pipe and a `cat` hold."""

_FEEDER = re.compile(r"(\d+):(\d+)\n", re.ASCII)
_COPIED = "fdinfo/7"  # where the feeder's offset is told


@dataclass(frozen=True, slots=True)
class StdinFile:
    """The files of one command's stdin; the names are supervisor.sh's."""

    directory: Path

    def prepare(self) -> None:
        """Put the fifos beside `stdin`, in a directory that nobody knows yet."""
        for name in ("fifo", "bell"):
            os.mkfifo(self.directory / name, 0o600)

    def feed(self, offset: int, data: bytes) -> int | None:
        """See ports.Workspace.feed."""
        feeder = self.feeder()
        if feeder is not None and not feeder.alive():
            return None
        try:
            fd = plain_file.descriptor(self.directory / "stdin", os.O_WRONLY)
        except FileNotFoundError:
            return None
        try:
            end = os.fstat(fd).st_size
            if offset <= end:
                room = MOST_UNREAD_BYTES - (end - _copied(feeder, end))
                fresh = data[end - offset :][: max(0, room)]
                if fresh:
                    end += os.pwrite(fd, fresh, end)
        finally:
            os.close(fd)
        # Also where nothing was new: whoever wrote it may have died before the ring.
        self._ring()
        return end

    def close(self) -> None:
        with suppress(FileNotFoundError):
            (self.directory / "closed").touch(mode=0o600)
        self._ring()

    def feeder(self) -> Process | None:
        """The process that copies; None before it began, and where there is none."""
        try:
            text = plain_file.text(self.directory / "feeder")
        except FileNotFoundError:
            return None
        told = _FEEDER.fullmatch(text)
        return Process(int(told[1]), int(told[2])) if told else None

    def end_feeder(self) -> None:
        """Kill it: its supervisor would have told it to end, had it lived."""
        feeder = self.feeder()
        if feeder is not None and feeder.alive():
            processes.send(feeder.pid, signal.SIGKILL)

    def _ring(self) -> None:
        # ENXIO: no feeder yet, and it looks before it listens. EAGAIN: it has enough to hear.
        with suppress(OSError):
            fd = os.open(self.directory / "bell", os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(fd, b"\n")
            finally:
                os.close(fd)


def _copied(feeder: Process | None, end: int) -> int:
    """How much of the file the feeder took. Where that cannot be seen, all of it: then only the
    limit on what waits in rdev's own store holds."""
    if feeder is None:
        return 0
    try:
        told = Path(f"/proc/{feeder.pid}/{_COPIED}").read_text()
    except OSError:
        return end
    return int(told.split()[1])  # pos:	N
