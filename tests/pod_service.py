"""Workspaces on a small cluster, for tests of the project side."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from live_stack import wait_for
from rdev.adapters.workspaces.kubernetes.access import Access
from rdev.adapters.workspaces.kubernetes.api import Api
from rdev.adapters.workspaces.kubernetes.templates import Templates
from rdev.adapters.workspaces.kubernetes.view import View
from rdev.adapters.workspaces.kubernetes.workspaces import Commands, KubernetesWorkspaces
from rdev.domain.workspaces import State, WorkspaceState
from small_cluster import MAPS, NAMESPACE, SmallCluster
from small_cluster_server import small_cluster


class NoCommands:
    """For tests in which none is run."""

    def of(self, project_id: str, life: str | None) -> Any:
        raise AssertionError(f"nobody runs commands in {project_id} here")

    def close(self) -> None:
        """There is nothing."""


@dataclass
class Cluster:
    """The cluster as it is (`there`) and as one process of rdev has it."""

    there: SmallCluster
    kubeconfig: Path
    api: Api
    view: View
    workspaces: KubernetesWorkspaces

    def await_state(self, project: str, state: State) -> WorkspaceState:
        return wait_for(
            lambda: found if (found := self.workspaces.state(project)).state is state else None
        )

    def template(self, **written: str) -> None:
        self.there.put(MAPS, {"metadata": {"name": "rdev-templates"}, "data": written})

    @contextmanager
    def seen_by_another(self, commands: Commands) -> Iterator["Cluster"]:
        with _seen(self.there, self.kubeconfig, commands) as other:
            yield other


@contextmanager
def cluster_in(folder: Path, commands: Commands | None = None) -> Iterator[Cluster]:
    with (
        small_cluster(folder) as (there, kubeconfig),
        _seen(there, kubeconfig, commands) as cluster,
    ):
        yield cluster


@contextmanager
def _seen(
    there: SmallCluster, kubeconfig: Path, commands: Commands | None = None
) -> Iterator[Cluster]:
    api = Api(Access(kubeconfig).client, timeout_s=2, breaker_failures=3, breaker_s=0.5)
    view = View(api, (NAMESPACE,))
    templates = Templates(api, NAMESPACE, "rdev-templates", image="debian")
    workspaces = KubernetesWorkspaces(api, view, templates, commands or NoCommands())
    try:
        yield Cluster(there, kubeconfig, api, view, workspaces)
    finally:
        workspaces.close()
