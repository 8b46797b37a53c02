"""What the suite is run against: workspaces on this machine, once with each shell that it has, and
pods of a cluster: of the stand-in, once with each image, or of a real one that is named.

A target knows nothing of the tests, and the tests know nothing of it but `Target`.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from integration.workspaces.place import SHELLS
from kubernetes_stand_in.stand_in import kubernetes_stand_in
from rdev.adapters.workspaces.kubernetes.access import Access
from rdev.adapters.workspaces.kubernetes.api import Api
from rdev.adapters.workspaces.kubernetes.exec import Execs
from rdev.adapters.workspaces.kubernetes.pod_commands import PodCommands
from rdev.adapters.workspaces.kubernetes.templates import Templates
from rdev.adapters.workspaces.kubernetes.view import View
from rdev.adapters.workspaces.kubernetes.workspaces import KubernetesWorkspaces
from rdev.adapters.workspaces.local import LocalWorkspaces
from rdev.ports import Workspaces
from small_cluster import NAMESPACE

DRAIN_S = 0.5
STAND_IN_IMAGES = ("debian", "alpine", "distroless-sh")


@dataclass(frozen=True)
class Target:
    """Workspaces as one process of rdev has them, and a way to have them as another one does."""

    workspaces: Workspaces
    another: Callable[[], AbstractContextManager[Workspaces]]


@contextmanager
def on_this_machine(shell: tuple[str, ...], folder: Path) -> Iterator[Target]:
    @contextmanager
    def made() -> Iterator[LocalWorkspaces]:
        workspaces = LocalWorkspaces(folder / "w", folder / "c", drain_s=DRAIN_S, shell=shell)
        try:
            yield workspaces
        finally:
            workspaces.close()

    with made() as workspaces:
        yield Target(workspaces, made)


@contextmanager
def pods_of_the_stand_in(image: str, folder: Path) -> Iterator[Target]:
    if os.geteuid() != 0 or not shutil.which("busybox"):
        pytest.skip("pods of the stand-in take root and a busybox")
    with (
        kubernetes_stand_in(folder) as (_, kubeconfig),
        pods(kubeconfig, NAMESPACE, f"registry.test/{image}:1") as target,
    ):
        yield target


@contextmanager
def pods(kubeconfig: Path, namespace: str, image: str) -> Iterator[Target]:
    @contextmanager
    def made() -> Iterator[KubernetesWorkspaces]:
        access = Access(kubeconfig)
        api = Api(access.client)
        view = View(api, (namespace,))
        workspaces = KubernetesWorkspaces(
            api,
            view,
            Templates(api, namespace, "rdev-templates", image=image),
            PodCommands(Execs(access.client, api), view, drain_s=DRAIN_S),
        )
        try:
            yield workspaces
        finally:
            workspaces.close()

    with made() as workspaces:
        yield Target(workspaces, made)


TARGETS: dict[str, Callable[[Path], AbstractContextManager[Target]]] = {
    f"local-{name}": partial(on_this_machine, shell) for name, shell in SHELLS.items()
} | {f"pods-{image}": partial(pods_of_the_stand_in, image) for image in STAND_IN_IMAGES}
