"""Which processes are ours: named by pid and start time, since a pid alone is soon another's.

The record outlives a killed parent, so that the next one can end what was left. It never names the
commands that users started: those live in sessions of their own and are to survive.
"""

import json
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

POLL_S = 0.02
GENTLE_S = 0.8
FIRM_S = 0.5
KILL_S = 5.0


@dataclass(frozen=True)
class Recorded:
    """A process as the record names it, and the signals that end it."""

    name: str
    pid: int
    started: str
    gentle: int = signal.SIGTERM
    firm: int = signal.SIGKILL

    @property
    def alive(self) -> bool:
        return start_mark(self.pid) == self.started

    def signal(self, number: int) -> None:
        """Send a signal; KILL goes to all of its process group."""
        try:
            if number == signal.SIGKILL:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # gone meanwhile (macOS: EPERM for a group of zombies)


def start_mark(pid: int) -> str | None:
    """What no later process of this pid will have: boot and start time. None: no such process, or
    one that has ended and waits to be reaped."""
    if not Path("/proc/self/stat").exists():
        return _portable_mark(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()  # the name before may hold anything
    return None if fields[0] in (b"Z", b"X") else f"{boot}:{int(fields[19])}"


def _portable_mark(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def write_record(path: Path, processes: Iterable[Recorded]) -> None:
    """Replace the record, whole or not at all."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps([asdict(process) for process in processes], indent=1) + "\n")
    draft.replace(path)


def read_record(path: Path) -> list[Recorded]:
    """What the record names; nothing where there is none or it makes no sense."""
    try:
        return [Recorded(**entry) for entry in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError):
        return []


def end_all(processes: Iterable[Recorded]) -> list[Recorded]:
    """End those that still live: gently, then firmly, then for certain. Returns whom it ended."""
    found = [process for process in processes if process.alive]
    rounds = (("gentle", GENTLE_S), ("firm", FIRM_S), ("kill", KILL_S))
    for how, patience_s in rounds:
        for process in found:
            if process.alive:
                process.signal({"gentle": process.gentle, "firm": process.firm}.get(how, 9))
        if wait_gone(found, patience_s):
            break
    return found


def wait_gone(processes: Iterable[Recorded], timeout_s: float) -> bool:
    """Whether all of them were gone before the time was over."""
    left = list(processes)
    deadline = time.monotonic() + timeout_s
    while left := [process for process in left if process.alive]:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def processes_in(folder: Path) -> list[int]:
    """The processes whose working directory is `folder` (Linux; elsewhere none are seen)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink() == folder and start_mark(int(entry.name)):
                found.append(int(entry.name))
        except OSError:
            continue  # gone, or another user's
    return found
