"""What /proc tells of processes: whether one is still the same, and which belong to a command.

A process is named by pid and start time (field 22 of /proc/PID/stat): pids come round again,
the pair does not before the next boot. Zombies count as dead, but for those of which the first
thread alone has ended.
"""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_KILL_ROUNDS = 50


@dataclass(frozen=True, slots=True)
class Process:
    """One process of this boot, past or present."""

    pid: int
    start: int

    def alive(self) -> bool:
        seen = _stat(self.pid)
        return seen is not None and seen.start == self.start and not seen.zombie

    def age_s(self) -> float:
        """Since its start, by the time since boot: `start` counts that in clock ticks."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.start / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class _Stat:
    zombie: bool
    group: int
    start: int


def boot_id() -> str:
    """This boot of the machine; empty where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def of_command(command_id: str, leader: Process | None) -> list[int]:
    """The pids of what is alive of a command: what carries its RDEV_COMMAND_ID, also after a
    setsid, and what is in its leader's process group without carrying it."""
    carried = b"\0RDEV_COMMAND_ID=" + command_id.encode() + b"\0"
    found = []
    for pid in _pids():
        carries = carried in b"\0%b\0" % _environment(pid)
        # Its group is asked for by a call: to read it from a file would double the time of a look.
        if not carries and (leader is None or _group(pid) != leader.pid):
            continue
        stat = _stat(pid)
        if stat is None or stat.zombie or pid == os.getpid():
            continue
        if carries or (leader is not None and _in_group(stat, leader)):
            found.append(pid)
    return found


def kill_command(command_id: str, leader: Process | None) -> None:
    """KILL all of it, again and again until there is nothing left (what forks meanwhile is
    caught by the next round). Gives up after about a second on what cannot be killed."""
    for _ in range(_KILL_ROUNDS):
        pids = of_command(command_id, leader)
        if leader is not None and leader.alive() and leader.pid not in pids:
            pids.append(leader.pid)  # it has the token, and is not the command yet
        if not pids:
            return
        for pid in pids:
            send(pid, signal.SIGKILL)
        time.sleep(0.02)


def signal_group(leader: Process, number: signal.Signals) -> bool:
    """Send to the leader's process group; False if the leader is no longer there to vouch that
    the group is the command's."""
    if not leader.alive():
        return False
    try:
        if os.getpgid(leader.pid) == leader.pid:
            os.killpg(leader.pid, number)
        else:  # between its token and its setsid
            os.kill(leader.pid, number)
    except ProcessLookupError:
        return False
    return True


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that is gone is no error."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _in_group(stat: _Stat, leader: Process) -> bool:
    # The kernel gives no pid away while it names a group; a group of a later time is told by
    # its members' start only if all began after a reuse, which needs the pids to come round
    # between two looks.
    return stat.group == leader.pid and stat.start >= leader.start


def _pids() -> Iterator[int]:
    # Not iterdir: a Path a process makes this scan twice as slow.
    return (int(name) for name in os.listdir(_PROC) if name.isdigit())  # noqa: PTH208


def _stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    fields = text[text.rfind(b")") + 2 :].split()
    zombie = fields[0] in (b"Z", b"X") and int(fields[17]) <= 1  # threads
    return _Stat(zombie=zombie, group=int(fields[2]), start=int(fields[19]))


def _environment(pid: int) -> bytes:
    try:
        fd = os.open(f"/proc/{pid}/environ", os.O_RDONLY)
    except OSError:
        return b""
    try:
        with os.fdopen(fd, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None
