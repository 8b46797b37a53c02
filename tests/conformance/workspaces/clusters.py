"""Clusters for the suite: the stand-in, and any real one that a kubeconfig leads to.

Projects are pods in two ways: as rdev makes them, where the cluster gives out volumes, and as
others make them, with a label.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conformance.workspaces.targets import DRAIN_S, Target
from kubernetes_stand_in import skip_without_pods
from kubernetes_stand_in.stand_in import kubernetes_stand_in
from rdev.adapters.workspaces.kubernetes import names
from rdev.adapters.workspaces.kubernetes.access import Access
from rdev.adapters.workspaces.kubernetes.api import Api
from rdev.adapters.workspaces.kubernetes.exec import Execs
from rdev.adapters.workspaces.kubernetes.manifests import pod_spec
from rdev.adapters.workspaces.kubernetes.pod_commands import PodCommands
from rdev.adapters.workspaces.kubernetes.template import Resources, Template
from rdev.adapters.workspaces.kubernetes.templates import Templates
from rdev.adapters.workspaces.kubernetes.view import View
from rdev.adapters.workspaces.kubernetes.workspaces import KubernetesWorkspaces
from real_cluster import SMALL, Cluster, gives_out_volumes, real_cluster
from small_cluster import NAMESPACE


@contextmanager
def seen(cluster: Cluster) -> Iterator[KubernetesWorkspaces]:
    """Its workspaces, as a process of rdev has them."""
    access = Access(cluster.kubeconfig)
    api = Api(access.client)
    view = View(api, (cluster.namespace,))
    workspaces = KubernetesWorkspaces(
        api,
        view,
        Templates(api, cluster.namespace, "rdev-templates", image=cluster.image),
        PodCommands(Execs(access.client, api), view, drain_s=DRAIN_S),
    )
    try:
        yield workspaces
    finally:
        workspaces.close()


@contextmanager
def made_by_rdev(cluster: Cluster) -> Iterator[Target]:
    with seen(cluster) as workspaces:
        yield Target(workspaces, partial(seen, cluster))


@contextmanager
def made_by_others(cluster: Cluster) -> Iterator[Target]:
    """A pod with a label, and a folder that ends with it."""
    api = Api(Access(cluster.kubeconfig).client)

    def make(project: str) -> None:
        api.create(names.pods_path(cluster.namespace), _pod(project, cluster.image))

    def unmake(project: str) -> None:
        api.delete(names.pods_path(cluster.namespace, project), {"gracePeriodSeconds": 0})

    try:
        with seen(cluster) as workspaces:
            yield Target(workspaces, partial(seen, cluster), make=make, unmake=unmake)
    finally:
        api.close()


def _pod(project: str, image: str) -> dict[str, Any]:
    spec = pod_spec(Template(image=image, resources=Resources.model_validate(SMALL)))
    spec["volumes"].append({"name": names.VOLUME, "emptyDir": {}})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": project,
            "labels": {names.PROJECT: project},
            "annotations": {names.ROOT: "/data"},
        },
        "spec": spec,
    }


@contextmanager
def of_the_stand_in(how: Callable[[Cluster], Any], image: str, folder: Path) -> Iterator[Target]:
    skip_without_pods()
    with kubernetes_stand_in(folder) as (_, kubeconfig):
        cluster = Cluster(kubeconfig, NAMESPACE, f"registry.test/{image}:1")
        with how(cluster) as target:
            yield target


@contextmanager
def of_a_real_cluster(how: Callable[[Cluster], Any], _folder: Path) -> Iterator[Target]:
    if how is made_by_rdev and not gives_out_volumes():
        pytest.skip("this cluster has no default StorageClass, so rdev can make no projects")
    with real_cluster() as cluster, how(cluster) as target:
        yield target
