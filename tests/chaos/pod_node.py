"""The cluster of a chaos run's pods, in a process of its own, so that whoever is killed is not it:
`python -m chaos.pod_node FOLDER`. Takes one JSON line a deed on stdin and answers each with one;
ends, with all its pods, when stdin does.

Before it lets processes of a pod die it keeps book of which commands that ends: nothing else may
have been lost.
"""

import base64
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from typing_extensions import override

from chaos.pod_load import SCRIPT, blob
from kubernetes_stand_in.exec_socket import Fault
from kubernetes_stand_in.node import SECRETS, Life
from kubernetes_stand_in.stand_in import StandIn, StandInHandler
from small_cluster import MAPS, PODS, SmallCluster
from small_cluster_server import serving

IMAGES = ("debian", "alpine", "distroless-sh")
_FAILED_FOR_S = 0.5
_JUST_BEGUN_S = 1.0
_ENOUGH_S = 20.0


class ChaosNode(StandIn):
    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder)
        self.killed: dict[str, dict[str, Any]] = {}
        """By command: how many bytes it had written, when its processes were killed."""
        self._random = random.Random(seed)
        self._before: dict[str, dict[str, Any]] = {}
        self._failed: dict[str, float] = {}

    # --- to begin with, and at the end ---------------------------------------------------------

    def templates(self) -> None:
        """One an image; their containers' environment has something that commands look for."""
        mark = base64.b64encode(b"kept").decode()
        self.put(SECRETS, {"metadata": {"name": "mark"}, "data": {"POD_MARK": mark}})
        written = {
            name: json.dumps({"image": f"registry.test/{name}:1", "env_from_secrets": ["mark"]})
            for name in IMAGES
        }
        self.put(MAPS, {"metadata": {"name": "rdev-templates"}, "data": written})

    def fill(self, project: str) -> None:
        """Put there what its commands need, as soon as its workspace is there."""
        place = self._claim(f"{project}-0") / "workspace"
        until = time.monotonic() + _ENOUGH_S
        while not place.is_dir():
            assert time.monotonic() < until, f"{place} does not come"
            time.sleep(0.02)
        (place / "load.sh").write_bytes(SCRIPT.read_bytes())
        (place / "blob").write_bytes(blob())
        # Its first line takes all the room that it will ever need of a disk that may be full.
        (place / "counter").write_text("begun\n")
        (place / "counter").chmod(0o666)

    def left(self, *, of_commands: bool) -> list[str]:
        """Processes in the pods: those of commands alone, or all that are not the pod's own."""
        with self.changed:
            firsts = {
                name: life.container.pid for name, life in self.lives.items() if life.container
            }
        return [
            f"{name}: {b' '.join(_words(pid, 'cmdline'))[:200].decode(errors='replace')}"
            for name, first in firsts.items()
            for pid in _inhabitants(first)
            if (_commands_of([pid]) if of_commands else not _the_pods_own(pid, first))
        ]

    # --- faults of connections -----------------------------------------------------------------

    def break_execs(self, most: int) -> None:
        """Each breaks after so many bytes more, at random: those that are, and two to come."""
        for wire in list(self.wires):
            wire.fault = self._fault(most, wire.sent, wire.received)
        with self.changed:
            self.faults += [self._fault(most, 0, 0), self._fault(most, 0, 0)]

    def _fault(self, most: int, sent: int, received: int) -> Fault:
        after = self._random.choice([self._random.randrange(40), self._random.randrange(most)])
        if self._random.random() < 0.5:
            return Fault(sent=sent + after)
        return Fault(received=received + after)

    # --- faults of pods ------------------------------------------------------------------------

    def strike(self, how: str, pod: str = "") -> str:
        """Befalls this pod, or one of those that run; which one."""
        with self.changed:
            running = [
                name
                for name, life in self.lives.items()
                if life.container and not life.ending and (PODS, name) in self.objects
            ]
            if self.down or not running:
                return ""
            busy = [name for name in running if self._commands(name)]
            name = pod or self._random.choice(sorted(busy or running))
            life = self.lives[name]
            if how == "delete":
                with self._noting(name, life):
                    self.remove(PODS, name, self._random.choice([0, 10]))
                    _await_empty(life)
            else:
                self._kill(name, life)
                if how == "evict":
                    self.evict(name)
                    self._failed[name] = time.monotonic()
                else:
                    self.kill(name, how)
            return name

    def _kill(self, name: str, life: Life) -> None:
        with self._noting(name, life):
            assert life.container is not None
            with suppress(ProcessLookupError):
                os.kill(life.container.pid, signal.SIGKILL)  # and the kernel all the others
            _await_empty(life)

    @contextmanager
    def _noting(self, name: str, life: Life) -> Iterator[None]:
        """Under the lock: nobody gets into the pod before all is noted."""
        assert life.container is not None
        looked_at = time.time()
        _log("struck", name)
        alive = _commands_of(_inhabitants(life.container.pid))
        yield
        for place in self._commands(name):
            token = place.parent / ".tokens" / place.name
            if not token.exists() or token.read_text() == "cancelled\n":
                _log("not begun in", name, place.name)
                continue
            _log("killed in", name, place.name, token.stat().st_mtime, token.name in alive)
            if token.name in alive or token.stat().st_mtime > looked_at - _JUST_BEGUN_S:
                self.killed[token.name] = {
                    "pod": name,
                    "stdout": _size(place / "out"),
                    "stderr": _size(place / "err"),
                }

    @override
    def reconcile(self) -> None:
        super().reconcile()
        with self.changed:
            for name, since in list(self._failed.items()):
                if time.monotonic() - since > _FAILED_FOR_S:
                    # As a StatefulSet's controller does, so that another one may come.
                    del self._failed[name]
                    self.lives.pop(name, None)
                    SmallCluster.remove(self, PODS, name)

    # --- faults of the node --------------------------------------------------------------------

    @override
    def lose_node(self) -> None:
        with self.changed:
            self._before = {
                name: dict(self.objects[PODS, name]["status"])
                for name in self.lives
                if (PODS, name) in self.objects
            }
            super().lose_node()

    def find_node(self, *, died: bool) -> None:
        """It is back. `died`: it was started anew, and all that ran on it is gone."""
        with self.changed:
            for name, status in self._before.items():
                life = self.lives.get(name)
                if life is None or life.ending or (PODS, name) not in self.objects:
                    continue
                if died and life.container is not None:
                    self._kill(name, life)
                    self.restart(name, life, "Unknown")
                else:
                    self.status(name, **status)
            self._before = {}
            self.down = self.exec_frozen = False
        self.cut_execs()

    def _commands(self, pod: str) -> list[Path]:
        """The directories of those that have not ended."""
        return [
            place
            for place in (self._claim(pod) / "commands").glob("cmd-*")
            # An empty one was written to a full disk: its supervisor is still at it.
            if not any(_size(place / each) for each in ("exit", "refused"))
        ]

    def _claim(self, pod: str) -> Path:
        return self.folder / "claims" / f"data-{pod}"


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _log(*words: object) -> None:
    """For whoever looks into what a run found."""
    print(f"{time.time():.3f}", *words, file=sys.stderr, flush=True)


def _inhabitants(first: int) -> list[int]:
    """The processes of a container, by its first one."""
    found = []
    with suppress(OSError):
        space = Path(f"/proc/{first}/ns/pid").readlink()
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (entry / "ns/pid").readlink() == space:
                    found.append(int(entry.name))
    return found


def _the_pods_own(pid: int, first: int) -> bool:
    return pid == first or _words(pid, "cmdline") == [b"sleep", b"3600"]


def _commands_of(pids: Sequence[int]) -> set[str]:
    """Of which commands these are: supervisors by their words, all else by their environment."""
    found = set()
    for pid in pids:
        for word in _words(pid, "cmdline"):
            place, _, last = word.rpartition(b"/")
            if place.endswith(b"/commands") and last.startswith(b"cmd-"):
                found.add(last.decode())
        for word in _words(pid, "environ"):
            if word.startswith(b"RDEV_COMMAND_ID="):
                found.add(word.partition(b"=")[2].decode())
    return found


def _words(pid: int, which: str) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/{which}").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return []


def _await_empty(life: Life) -> None:
    assert life.container is not None
    until = time.monotonic() + _ENOUGH_S
    while life.container.exit_code is None:
        assert time.monotonic() < until, "a container does not end"
        time.sleep(0.002)


def _do(node: ChaosNode, deed: str, **how: Any) -> Any:
    """What can be asked for; `set` sets the stand-in's own switches."""
    if deed == "set":
        for name, value in how.items():
            setattr(node, name, value)
        return None
    if deed == "killed":
        return node.killed
    return getattr(node, deed)(**how)


def main() -> None:
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    node = ChaosNode(folder, seed)
    node.templates()
    try:
        with serving(node, StandInHandler, folder):
            print(json.dumps(None), flush=True)
            for line in sys.stdin:
                print(json.dumps(_do(node, **json.loads(line))), flush=True)
    finally:
        node.close()


if __name__ == "__main__":
    threading.current_thread().name = "deeds"
    main()
