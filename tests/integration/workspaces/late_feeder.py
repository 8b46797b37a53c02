"""The feeder of a command's open stdin, held before it can tell of itself."""

import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from integration.workspaces.place import eventually
from rdev.adapters.workspaces.local_workspace import SUPERVISOR


@contextmanager
def held_feeder(shell: tuple[str, ...], directory: Path, root: Path) -> Iterator[int]:
    """Start a command in this directory, whose name is its id. Its feeder waits until the block
    ends: who opens `bell` for writing waits for our lease on it (fcntl(2), F_SETLEASE)."""
    directory.mkdir()
    run = f'enter .\nexec "$@" env RDEV_COMMAND_ID={directory.name} sleep 60\n'
    (directory / "launch").write_text(run)
    os.mkfifo(directory / "fifo")
    for name in ("stdin", "bell", "out", "err"):
        (directory / name).touch()
    token = directory.parent / ".tokens" / directory.name
    argv = [*shell, str(SUPERVISOR), str(directory), str(token), str(root), "50"]
    lease = os.open(directory / "bell", os.O_RDONLY)
    try:
        fcntl.fcntl(lease, fcntl.F_SETSIG, signal.SIGURG)  # which nobody minds
        fcntl.fcntl(lease, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        supervisor = subprocess.Popen(argv, env={"PATH": os.defpath}, stderr=subprocess.DEVNULL)
        eventually(lambda: _orphans_in(directory, supervisor.pid))
        [feeder] = _orphans_in(directory, supervisor.pid)
        yield feeder
    finally:
        os.close(lease)
    supervisor.wait(60)


def _orphans_in(directory: Path, supervisor: int) -> set[int]:
    """Those in it whose parent is gone: not the supervisor, its leader, nor what is between."""
    parents = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "cwd").readlink() == directory:
                stat = (place / "stat").read_text().rpartition(")")[2].split()
                parents[int(place.name)] = int(stat[1])
        except OSError:  # it ended
            continue
    return {pid for pid, of in parents.items() if of not in parents and pid != supervisor}
