"""Workspaces on a small cluster, for tests of the project side."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from live_stack import wait_for
from rdev.adapters.workspaces.kubernetes.access import Access
from rdev.adapters.workspaces.kubernetes.api import Api
from rdev.adapters.workspaces.kubernetes.templates import Templates
from rdev.adapters.workspaces.kubernetes.view import View
from rdev.adapters.workspaces.kubernetes.workspaces import KubernetesWorkspaces
from rdev.domain.workspaces import State, WorkspaceState
from small_cluster import MAPS, NAMESPACE, SmallCluster
from small_cluster_server import small_cluster

Enter = Callable[[str, Any], Any]
"""Gives the workspace in a project's pod."""


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
    def seen_by_another(self, enter: Enter) -> Iterator["Cluster"]:
        with _seen(self.there, self.kubeconfig, enter) as other:
            yield other


def no_commands(project_id: str, _pod: Any) -> Any:
    raise AssertionError(f"nobody enters {project_id} here")


@contextmanager
def cluster_in(folder: Path, enter: Enter = no_commands) -> Iterator[Cluster]:
    with (
        small_cluster(folder) as (there, kubeconfig),
        _seen(there, kubeconfig, enter) as cluster,
    ):
        yield cluster


@contextmanager
def _seen(there: SmallCluster, kubeconfig: Path, enter: Enter = no_commands) -> Iterator[Cluster]:
    api = Api(Access(kubeconfig).client, timeout_s=2, breaker_failures=3, breaker_s=0.5)
    view = View(api, (NAMESPACE,))
    templates = Templates(api, NAMESPACE, "rdev-templates", image="debian")
    workspaces = KubernetesWorkspaces(api, view, templates, enter=enter)
    try:
        yield Cluster(there, kubeconfig, api, view, workspaces)
    finally:
        workspaces.close()
