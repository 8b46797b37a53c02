"""A local workspace with a given shell, and nothing left of it at the end."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command_ids import ONE
from rdev.adapters.workspaces.local import LocalWorkspaces
from rdev.adapters.workspaces.local_workspace import LocalWorkspace
from rdev.domain.commands import Launch
from rdev.ports import Liveness

DEADLINE_S = 60.0
DRAIN_S = 0.5

SHELLS = {
    name: argv
    for name, argv in {
        "dash": ("dash",),
        "bash": ("bash",),
        "bash-posix": ("bash", "--posix"),
        "busybox": ("busybox", "ash"),
    }.items()
    if shutil.which(argv[0])
}
assert {"dash", "bash"} & SHELLS.keys(), "install dash or bash to test the supervisor"

THREADS_RUN_ON = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(100,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""
"""For Python: the process looks like a zombie, and is none."""


def eventually(holds: Callable[[], object]) -> None:
    """For what no event announces."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "did not come to hold in time"
        time.sleep(0.01)


@dataclass
class Place:
    """A project's workspace and its files, with short ways to run something in it."""

    workspaces: LocalWorkspaces
    workspace: LocalWorkspace
    root: Path
    commands: Path

    def launch(
        self,
        *argv: str,
        id: str = ONE,  # noqa: A002 - the word of the domain
        env: Mapping[str, str] | None = None,
        cwd: str = ".",
        stdin: bytes = b"",
        **more: Any,
    ) -> Launch:
        return Launch(id, "demo", argv, env or {}, cwd, stdin, **more)

    def sh(self, line: str, **how: object) -> Launch:
        return self.launch("sh", "-c", line, **how)  # type: ignore[arg-type]

    def run(self, launch: Launch) -> tuple[int | None, bytes, bytes]:
        self.workspace.start(launch)
        self.finish(launch.command_id)
        return self.result(launch.command_id)

    def finish(self, command_id: str = ONE) -> None:
        assert self.until_over(command_id) is Liveness.ENDED

    def until_over(self, command_id: str = ONE) -> Liveness:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            seen = self.workspace.liveness(command_id)
            if seen in (Liveness.ENDED, Liveness.DEAD, Liveness.CANCELLED):
                return seen
            self.workspace.wait(command_id, 0.2)
        raise AssertionError(f"still {seen}")

    def result(self, command_id: str = ONE) -> tuple[int | None, bytes, bytes]:
        ended = self.workspace.exit(command_id)
        return (
            None if ended is None else ended.exit_code,
            self.output("stdout", command_id),
            self.output("stderr", command_id),
        )

    def output(self, stream: str, command_id: str = ONE) -> bytes:
        read = bytearray()
        while more := self.workspace.read(command_id, stream, len(read), 1 << 20):
            read += more
        return bytes(read)

    def said(self, command_id: str = ONE) -> str:
        """What it wrote to stdout so far, once that is at least a line."""
        eventually(lambda: self.output("stdout", command_id).endswith(b"\n"))
        return self.output("stdout", command_id).decode().strip()


def make_place(folder: Path, shell: tuple[str, ...]) -> Iterator[Place]:
    workspaces = LocalWorkspaces(
        folder / "workspaces",
        folder / "commands",
        drain_s=DRAIN_S,
        shell=shell,
        git_protocols=("file",),
    )
    workspaces.create("demo", git_url=None)
    place = Place(
        workspaces, workspaces.of("demo"), folder / "workspaces/demo", folder / "commands/demo"
    )
    try:
        yield place
    finally:
        workspaces.delete("demo", lambda: None)
        workspaces.close()


def gone(pid: int) -> bool:
    """No such process, or no more than a zombie of it that init has not reaped yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    fields = stat.rpartition(")")[2].split()
    return fields[0] in "ZX" and int(fields[17]) <= 1  # threads


def only_its_threads_run(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return stat[0] == "Z" and int(stat[17]) > 1
