"""The process's own ends: raw bytes out, messages, and what signals mean."""

import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import NoReturn, Self

STDOUT = 1
STDERR = 2


def write_all(fd: int, data: bytes) -> None:
    """Write every byte at once, as it is. Raises BrokenPipeError when nobody reads any more."""
    rest = memoryview(data)
    while rest:
        try:
            written = os.write(fd, rest)
        except BlockingIOError:  # some shells hand on a terminal that does not block
            select.select([], [fd], [])
        else:
            rest = rest[written:]


def complain(message: str) -> None:
    """A message of rdev's own, on stderr: stdout is the command's. Safe in a signal handler."""
    # Control characters could come from a server, and would steer the terminal.
    line = "".join(c if c.isprintable() else " " for c in message)
    with suppress(OSError):
        write_all(STDERR, f"rdev: {line}\n".encode(errors="replace"))


def die_of_broken_pipe() -> NoReturn:
    """End as a local tool ends whose reader has gone, so that the shell says the same."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    sys.exit(128 + signal.SIGPIPE)  # where SIGPIPE is blocked


def leave(code: int) -> NoReturn:
    """End now, whatever is going on. Nothing is lost by it: output is never buffered here."""
    os._exit(code)


class Interrupts:
    """While entered, the first SIGINT or SIGTERM calls `first`, the next ones `again`.

    Neither breaks into what the process is doing: a stream goes on while its command is being
    cancelled."""

    def __init__(self, first: Callable[[], None], again: Callable[[], None]) -> None:
        self._first = first
        self._again = again
        self._count = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() gave us

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            self._first()
        else:
            self._again()
