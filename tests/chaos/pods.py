"""The parts of a chaos run whose commands run in pods: those of `cluster`, and beside them a
Kubernetes of one node (pod_node.py) whose faults are its own."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from chaos.client import Case, Client, any_case
from chaos.cluster import Cluster, Killed, cluster_of
from chaos.pod_load import PodCase
from small_cluster import NAMESPACE

PROJECTS = {
    f"{image}-{number}": image
    for number in (1, 2)
    for image in ("debian", "alpine", "distroless-sh")
}
"""Each a pod, by the image that it is made of."""
_LEFT_OVER = ("cmd-", ".old.")


class PodCluster(Cluster):
    def __init__(self, folder: Path, *, seed: int = 0, **options: Any) -> None:
        self._node_folder = folder / "node"
        settings = {
            **(options.pop("settings", None) or {}),
            "workspaces": "kubernetes",
            "kubeconfig": self._node_folder / "kubeconfig",
            "kubernetes_namespaces": NAMESPACE,
        }
        super().__init__(folder, settings=settings, **options)
        self._seed = seed
        self._node: subprocess.Popen[str] | None = None
        self._asking = threading.Lock()

    @override
    def start(self) -> None:
        super().start()
        self._node_folder.mkdir()
        (self.disk.folder / "claims").mkdir()
        (self._node_folder / "claims").symlink_to(self.disk.folder / "claims")
        with (self.folder / "node.log").open("wb") as log:
            self._node = subprocess.Popen(
                [sys.executable, "-m", "chaos.pod_node", self._node_folder, str(self._seed)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._answer()

    def node(self, deed: str, **how: Any) -> Any:
        """Have it done, and its answer; see pod_node.py for what there is."""
        assert self._node is not None
        assert self._node.stdin is not None
        with self._asking:
            self._node.stdin.write(json.dumps({"deed": deed, **how}) + "\n")
            self._node.stdin.flush()
            return self._answer()

    def _answer(self) -> Any:
        assert self._node is not None
        assert self._node.stdout is not None
        line = self._node.stdout.readline()
        assert line, (self.folder / "node.log").read_text()
        return json.loads(line)

    @override
    def end(self) -> None:
        super().end()
        if self._node is not None:
            assert self._node.stdin is not None
            assert self._node.stdout is not None
            self._node.stdin.close()
            self._node.wait(60)
            self._node.stdout.close()

    @override
    def prepare_projects(self, client: Client, key: str) -> None:
        for project, image in PROJECTS.items():
            body = {"id": project, "template": image}
            status, answer = client.insist("POST", "/projects", key, body)
            assert status in (201, 409), (status, answer)
            self.node("fill", project=project)

    # --- for the checks ------------------------------------------------------------------------

    @override
    def starts(self) -> Counter[str]:
        counted = Counter[str]()
        for counter in self._claims("workspace/counter"):
            counted.update(counter.read_text().split())
        return counted

    @override
    def killed(self) -> dict[str, Killed]:
        return {each: Killed(**how) for each, how in self.node("killed").items()}

    @override
    def processes_left(self) -> list[str]:
        return list(self.node("left", of_commands=True))

    @override
    def directories_left(self) -> list[str]:
        return [
            f"{place.parts[-3]}: {place.name}"
            for place in self._claims("commands/*")
            if place.name.startswith(_LEFT_OVER)
        ]

    def end_rdev(self) -> None:
        """For good: nobody is connected to a pod from here on."""
        self._ending.set()
        for part in self.parts.values():
            if part.name not in ("postgres", "valkey"):
                with part.lock:
                    part.kill()
                    if part.process is not None:
                        part.process.wait()

    def agents_left(self) -> list[str]:
        """Once nobody is connected: whatever still runs in the pods."""
        return list(self.node("left", of_commands=False))

    def _claims(self, what: str) -> Iterator[Path]:
        return (self.disk.folder / "claims").glob(f"data-*/{what}")


@contextmanager
def pod_cluster(**options: Any) -> Iterator[PodCluster]:
    with cluster_of(PodCluster, **options) as running:
        yield running


def why_not() -> str | None:
    """Why there can be no pods on this machine."""
    missing = [each for each in ("busybox", "unshare", "nsenter") if not shutil.which(each)]
    if os.geteuid() != 0:
        return "pods of the stand-in take root"
    return f"pods of the stand-in take {', '.join(missing)}" if missing else None


def any_pod_case(number: int, random_: random.Random, keys: list[str]) -> Case:
    """As on one machine, but slower: it is to be met by what befalls its pod."""
    case = any_case(number, random_, keys, PodCase)
    case.work = replace(case.work, seconds=case.work.seconds * random_.uniform(1, 5))
    case.project = random_.choice(sorted(PROJECTS))
    return case
