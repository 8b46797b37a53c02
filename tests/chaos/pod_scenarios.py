"""Single faults at a chosen point, in pods: what random ones hit only now and then, and what no
fault did, which must be noticed."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chaos.checks import Verdict, check, check_pods_are_left, settle
from chaos.client import Client
from chaos.cluster import RUNNERS
from chaos.load import Work
from chaos.pod_load import PodCase
from chaos.pods import PodCluster, pod_cluster
from chaos.run import prepare

_PROJECT = "alpine-1"
_ENOUGH_S = 120.0


class PodScene:
    """One command, which does not end before `release`."""

    def __init__(self, parts: PodCluster) -> None:
        self.parts = parts
        self._key = prepare(parts)[0]
        self._client = Client(parts.port)
        self._client.calm.set()
        self._held = parts.disk.folder / "claims" / f"data-{_PROJECT}-0" / "workspace" / "held"
        self._held.touch()

    def submit(self, work: Work) -> PodCase:
        self.case = PodCase("case-0", work, self._key, "normal", project=_PROJECT)
        wanted = (self.case, Path(), threading.Semaphore())
        self._thread = threading.Thread(target=self._client.see_through, args=wanted, daemon=True)
        self._thread.start()
        return self.case

    def began(self) -> bool:
        return self.parts.starts()[self.case.tag] > 0

    def release(self) -> None:
        self._held.unlink()

    def verdict(self) -> Verdict:
        self._thread.join()
        verdict = Verdict()
        settle(self.parts, verdict)
        self.case.fetched_later = self._client.fetch(self.case)
        check(self.parts, [self.case], [], verdict)
        check_pods_are_left(self.parts, verdict)
        return verdict


def killed_right_after_the_start(unsafe: str = "") -> Verdict:
    """The runner dies between having the command started and recording that; another one takes
    over while the command runs."""
    first, other = RUNNERS
    with pod_cluster(fail_points={first: "stop:start.after"}, unsafe=unsafe) as parts:
        scene = PodScene(parts)
        parts.parts[other].signal(signal.SIGSTOP)
        scene.submit(work := Work(seed=1, stdout=1000))
        _await(lambda: parts.failures() and scene.began())
        parts.fail_points = {}
        parts.parts[first].kill()
        parts.parts[other].signal(signal.SIGCONT)
        _await(lambda: scene.case.book and scene.case.book.sizes["stdout"] >= work.stdout)
        scene.release()
        return scene.verdict()


def killed_with_its_pod(how: str) -> tuple[Verdict, PodCase]:
    """`how` as pod_node.py has it."""
    with _running() as scene:
        scene.parts.node("strike", how=how, pod=f"{_PROJECT}-0")
        return scene.verdict(), scene.case


def killed_by_nobody_who_says_so() -> Verdict:
    """Its processes die, and no fault was noted that killed them."""
    with _running() as scene:
        mark = f"RDEV_COMMAND_ID={scene.case.command_id}".encode()
        place = f"/commands/{scene.case.command_id}".encode()
        for pid in _processes(lambda words: any(w == mark or w.endswith(place) for w in words)):
            os.kill(pid, signal.SIGKILL)
        return scene.verdict()


@contextmanager
def _running() -> Iterator[PodScene]:
    with pod_cluster() as parts:
        scene = PodScene(parts)
        scene.submit(Work(seed=2, stdout=40_000, stderr=300))
        _await(
            lambda: scene.case.book and scene.case.book.sizes == {"stdout": 40_000, "stderr": 300}
        )
        yield scene


def _processes(wanted: Callable[[list[bytes]], bool]) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = [(entry / each).read_bytes().split(b"\0") for each in ("cmdline", "environ")]
        except OSError:
            continue
        if wanted([*words[0], *words[1]]):
            yield int(entry.name)


def _await(condition: Callable[[], Any]) -> None:
    until = time.monotonic() + _ENOUGH_S
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
