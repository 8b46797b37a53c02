"""Control groups: where the kernel can hold a command to its limits. Version 2, or version 1
where that is what the machine has.

A command gets a group only if it asks for a limit. Making one costs a tenth of a millisecond, but
joining it costs the leader eight (measured on 6.18: the kernel waits for all of its processors).
The group stands beside rdev's own, or below it with version 1, and outlives the command until its
directory is cleaned up: so what it counted can be read by any runner. What it is and does is in
`cgroup.py`.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rdev.adapters.workspaces.cgroup import Cgroup

_V2_CONTROLLERS = ("memory", "pids")
_PROBE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Parents:
    """In which folders groups can be made, by controller. Version 2 has one for all."""

    memory: Path | None = None
    pids: Path | None = None
    cpuacct: Path | None = None

    @property
    def limits(self) -> frozenset[str]:
        """The limits that can be enforced."""
        held = {"memory_mb": self.memory, "processes": self.pids}
        return frozenset(limit for limit, parent in held.items() if parent is not None)

    def group(self, name: str) -> Cgroup:
        parents = (self.memory, self.pids, self.cpuacct)
        folders = dict.fromkeys(parent / name for parent in parents if parent is not None)
        return Cgroup(tuple(folders))

    def left_over(self, prefix: str) -> Iterator[Cgroup]:
        """The groups whose name begins so."""
        names = {
            folder.name
            for parent in (self.memory, self.pids, self.cpuacct)
            if parent is not None
            for folder in parent.glob(f"{prefix}*")
        }
        return (self.group(name) for name in sorted(names))


def find() -> Parents:
    """Look where a group can be made, held to a limit and joined, by doing it."""
    mounts = tuple(_mounts())
    own = _own_paths()
    for parent in _version_2_parents(mounts, own):
        if _usable(parent, "memory.max") and _usable(parent, "pids.max"):
            return Parents(memory=parent, pids=parent)
    memory = _version_1_parent("memory", mounts, own)
    pids = _version_1_parent("pids", mounts, own)
    cpuacct = _version_1_parent("cpuacct", mounts, own)
    return Parents(
        memory=memory if memory and _usable(memory, "memory.limit_in_bytes") else None,
        pids=pids if pids and _usable(pids, "pids.max") else None,
        cpuacct=cpuacct if cpuacct and _usable(cpuacct, None) else None,
    )


@dataclass(frozen=True, slots=True)
class _Mount:
    point: Path
    root: str
    controllers: frozenset[str]
    version: int


def _mounts() -> Iterator[_Mount]:
    """From mountinfo (proc(5)): `id parent dev root point options ... - type source options`."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            fields = before.split(" ")
            controllers = frozenset(options.split(","))
            yield _Mount(Path(fields[4]), fields[3], controllers, 2 if kind == "cgroup2" else 1)


def _own_paths() -> Mapping[str, str]:
    """Our own group by controller; that of version 2 under the empty name."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    return own


def _place(mount: _Mount, path: str) -> Path | None:
    """Where a group lies in a mount, which may show but a part of the tree."""
    root = mount.root.rstrip("/")
    if path == root or path.startswith(f"{root}/"):
        path = path[len(root) :]
    place = mount.point / path.lstrip("/")
    return place if place.is_dir() else None


def _version_2_parents(mounts: tuple[_Mount, ...], own: Mapping[str, str]) -> Iterator[Path]:
    """From our own group upwards: those that can hand the controllers to a child. A group with
    processes in it cannot, unless it is the root; so it is mostly our own's parent."""
    for mount in mounts:
        place = _place(mount, own.get("", "/")) if mount.version == 2 else None  # noqa: PLR2004
        while place is not None:
            if _hands_down(place):
                yield place
            place = place.parent if place != mount.point else None


def _hands_down(place: Path) -> bool:
    with suppress(OSError):
        if set(_V2_CONTROLLERS) <= set((place / "cgroup.subtree_control").read_text().split()):
            return True
        if set(_V2_CONTROLLERS) <= set((place / "cgroup.controllers").read_text().split()):
            (place / "cgroup.subtree_control").write_text("+memory +pids")
            return True
    return False


def _version_1_parent(
    controller: str, mounts: tuple[_Mount, ...], own: Mapping[str, str]
) -> Path | None:
    for mount in mounts:
        if mount.version == 1 and controller in mount.controllers:
            return _place(mount, own.get(controller, "/"))
    return None


def _usable(parent: Path, limit: str | None) -> bool:
    """Whether a child can be made, limited and joined: some systems allow but one or two."""
    child = parent / f"rdev-probe-{os.urandom(6).hex()}"
    try:
        child.mkdir()
    except OSError:
        return False
    try:
        if limit is not None:
            (child / limit).write_text(str(1 << 30) if limit.startswith("memory") else "1000")
        joined = subprocess.run(  # noqa: S603 - a path of the kernel's and a constant script
            ("/bin/sh", "-c", 'echo 0 >"$1/cgroup.procs"', "sh", os.fspath(child)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    finally:
        Cgroup((child,)).remove()
    return joined.returncode == 0
