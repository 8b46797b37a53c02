"""One command's control group: its limits, its processes, what the kernel counted, its end.

A group of version 1 is a folder for each controller; one of version 2 a single folder. What there
is to do differs by which files are in them, so nothing here asks for the version.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rdev.adapters.workspaces import processes

BYTES_A_MB = 1_000_000
_ROUNDS = 50
_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Cgroup:
    """Its folders. No folders: no group, and everything below does nothing."""

    folders: tuple[Path, ...]

    def make(self, *, memory_mb: int | None, processes: int | None) -> None:
        """Make it and set its limits, before anybody joins. Twice is no error."""
        for folder in self.folders:
            with suppress(FileExistsError):
                folder.mkdir()
        if memory_mb is not None:
            limit = str(memory_mb * BYTES_A_MB)
            self._write("memory.max", limit)
            self._write("memory.limit_in_bytes", limit)
            # Without these a command would swap where it should end. Some kernels lack them.
            with suppress(OSError):
                self._write("memory.swap.max", "0")
            with suppress(OSError):
                self._write("memory.memsw.limit_in_bytes", limit)
        if processes is not None:
            self._write("pids.max", str(processes))

    def pids(self) -> list[int]:
        """What is alive in it; what is a zombie is not."""
        found: dict[int, None] = {}
        for folder in self.folders:
            with suppress(OSError):
                pids = map(int, (folder / "cgroup.procs").read_text().split())
                found.update(dict.fromkeys(pid for pid in pids if pid > 0))
        return list(found)

    def kill(self) -> None:
        """KILL all that is in it, until nothing is; also what left its session and cleared its
        environment. Gives up after about a second on what cannot be killed."""
        for _ in range(_ROUNDS):
            pids = self.pids()
            if not pids:
                return
            with suppress(OSError):
                self._write("pids.max", "0")  # no forking away from it, where there is no:
            with suppress(OSError):
                self._write("cgroup.kill", "1")
            for pid in pids:
                processes.send(pid, signal.SIGKILL)
            time.sleep(_PAUSE_S)

    def usage(self) -> dict[str, int | float]:
        """What the kernel counted, as far as it did."""
        counted: dict[str, int | float] = {}
        for peak in self._numbers("memory.peak", "memory.max_usage_in_bytes"):
            counted["memory_max_bytes"] = peak
        for name, value in self._fields("memory.events", "memory.oom_control"):
            if name == "oom_kill":
                counted["oom_kills"] = value
        for nanoseconds in self._numbers("cpuacct.usage"):
            counted["cpu_s"] = nanoseconds / 1e9
        for name, value in self._fields("cpu.stat"):
            if name == "usage_usec":
                counted["cpu_s"] = value / 1e6
        return counted

    def remove(self) -> None:
        """Remove it. What is still in it goes on without: then it is left over, for `prune`."""
        for folder in self.folders:
            for _ in range(_ROUNDS):
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:  # busy: what was killed takes a moment to be gone
                    if self.pids():
                        break
                    time.sleep(_PAUSE_S)
                else:
                    break

    def _write(self, name: str, value: str) -> None:
        for folder in self.folders:
            if (folder / name).exists():
                fd = os.open(folder / name, os.O_WRONLY)
                try:
                    os.write(fd, value.encode())
                finally:
                    os.close(fd)

    def _read(self, *names: str) -> Iterator[str]:
        for folder in self.folders:
            for name in names:
                with suppress(OSError):
                    yield (folder / name).read_text()

    def _numbers(self, *names: str) -> Iterator[int]:
        return (int(text) for text in self._read(*names))

    def _fields(self, *names: str) -> Iterator[tuple[str, int]]:
        for text in self._read(*names):
            for line in text.splitlines():
                name, _, value = line.partition(" ")
                if value.isdigit():
                    yield name, int(value)
