"""Keeps a list of parts alive: starts them, starts each again when it dies, and ends them all.

One thread and no polling: the kernel wakes it when a child ends or a signal comes. What the parts
are is data, so that a test can run it with anything.
"""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rdev.platform.processes import Recorded, start_mark, write_record
from rdev.platform.stores import Account, last_line

LOG_MAX_BYTES = 10 * 1024 * 1024
PAUSE_S = 0.5
"""Before a part that died young is started again; always within a second."""
YOUNG_S = 2.0
PARTS_S = 1.5
STORES_S = 0.9
FIRM_S = 0.3
"""How long stopping waits for the parts, the stores, and for firm signals: under 3 s in all."""


@dataclass(frozen=True)
class Part:
    """One process to keep alive."""

    name: str
    command: Sequence[str]
    store: bool = False
    """Stores are ended after those who use them."""
    gentle: int = signal.SIGTERM
    firm: int = signal.SIGKILL
    account: Account | None = None
    cwd: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    pass_fds: tuple[int, ...] = ()
    before: Callable[[], None] = lambda: None
    """Called before every start."""


@dataclass
class _Child:
    part: Part
    process: "subprocess.Popen[bytes]"
    recorded: Recorded
    born: float
    restart_at: float | None = None


class Stop:
    """Whether to stop, and a wait that ends at once when a child ends or a signal arrives."""

    def __init__(self, wake: int) -> None:
        self.asked = False
        self._wake = wake

    def wait(self, timeout_s: float | None) -> None:
        select.select([self._wake], [], [], timeout_s)
        with suppress(BlockingIOError):
            os.read(self._wake, 4096)


@contextmanager
def listening_for_stop() -> Iterator[Stop]:
    """Turn SIGTERM, SIGINT and SIGHUP into `Stop.asked`, main thread only. A SIGHUP that was
    ignored before (nohup) stays ignored."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    stop = Stop(reader)

    def ask(*_: object) -> None:
        stop.asked = True

    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    earlier = {number: signal.signal(number, ask) for number in numbers}
    earlier[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
    earlier_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(earlier_fd)
        for number, handler in earlier.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


class Supervisor:
    """The parts that run. Every start is on record before anything else happens."""

    def __init__(self, log_dir: Path, record: Path, say: Callable[[str], None]) -> None:
        self.log_dir = log_dir
        self._record = record
        self._say = say
        self._children: dict[str, _Child] = {}
        self._parent = Recorded("rdev up", os.getpid(), start_mark(os.getpid()) or "")

    def start(self, part: Part) -> None:
        """Start a part, which is from then on kept alive by `tend`."""
        part.before()
        log = self._open_log(part.name)
        try:
            process = subprocess.Popen(  # noqa: S603 - the platform's own commands
                part.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=part.cwd,
                env={**os.environ, **part.environment},
                # A group of its own: Ctrl-C is for the parent alone.
                start_new_session=True,
                pass_fds=part.pass_fds,
                user=part.account.uid if part.account else None,
                group=part.account.gid if part.account else None,
                extra_groups=[] if part.account else None,
            )
        finally:
            os.close(log)
        mark = start_mark(process.pid) or "ended"
        recorded = Recorded(part.name, process.pid, mark, part.gentle, part.firm)
        self._children[part.name] = _Child(part, process, recorded, time.monotonic())
        self._write_record()
        self._say(f"{part.name} started (pid {process.pid})")

    def alive(self, name: str) -> bool:
        return self._children[name].process.poll() is None

    def epitaph(self, name: str) -> str:
        """The last thing that a part said."""
        with suppress(OSError):
            return last_line(self.log_path(name).read_bytes()[-65536:])
        return "no reason was given"

    def log_path(self, name: str) -> Path:
        return self.log_dir / f"{name}.log"

    def dead(self) -> str | None:
        """The name of a part that has ended, if there is one."""
        return next((name for name in self._children if not self.alive(name)), None)

    def tend(self, stop: Stop) -> None:
        """Start again whatever ends, until asked to stop."""
        while not stop.asked:
            now = time.monotonic()
            for child in list(self._children.values()):
                self._look_after(child, now)
            waits = [c.restart_at - now for c in self._children.values() if c.restart_at]
            stop.wait(max(0.0, min(waits)) if waits else None)

    def _look_after(self, child: _Child, now: float) -> None:
        status = child.process.poll()
        if status is None:
            return
        if child.restart_at is None:
            # Workers that outlive their master must not compete with the next ones.
            child.recorded.signal(signal.SIGKILL)
            pause_s = PAUSE_S if now - child.born < YOUNG_S else 0.0
            child.restart_at = now + pause_s
            self._say(
                f"{child.part.name} ended ({describe(status)}), starting it again; "
                f"see {self.log_path(child.part.name)}"
            )
        if now >= child.restart_at:
            try:
                self.start(child.part)
            except OSError as exc:
                self._say(f"{child.part.name} cannot be started: {exc}; trying again")
                child.restart_at = now + PAUSE_S

    def stop(self) -> None:
        """End everything within 3 s: first those who use the stores, then the stores."""
        parts = [child for child in self._children.values() if not child.part.store]
        stores = [child for child in self._children.values() if child.part.store]
        self._end(parts, PARTS_S)
        self._end(stores, STORES_S)
        self._children.clear()
        self._record.unlink(missing_ok=True)

    def _end(self, children: list[_Child], patience_s: float) -> None:
        for child in children:
            _signal(child, child.part.gentle)
        if not _gone(children, patience_s):
            for child in children:
                _signal(child, child.part.firm)
            _gone(children, FIRM_S)
        for child in children:
            child.recorded.signal(signal.SIGKILL)  # what is left of its group, too
            child.process.wait()

    def _write_record(self) -> None:
        children = [child.recorded for child in self._children.values()]
        write_record(self._record, [self._parent, *children])

    def _open_log(self, name: str) -> int:
        path = self.log_path(name)
        with suppress(FileNotFoundError):
            if path.stat().st_size > LOG_MAX_BYTES:
                path.replace(path.with_suffix(".log.1"))
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def describe(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def _signal(child: _Child, number: int) -> None:
    if child.process.poll() is None:
        child.recorded.signal(number)


def _gone(children: list[_Child], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    for child in children:
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
    return True
