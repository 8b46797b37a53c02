"""Clusters for the suite: the stand-in, and any real one that a kubeconfig leads to.

In a real one the suite makes a namespace of its own, at Pod Security's level `restricted`, and
deletes it. Besides rights to do that it takes an image that can be pulled. Projects are pods in two
ways: as rdev makes them, where the cluster gives out volumes, and as others make them, with a
label.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from conformance.workspaces.targets import DRAIN_S, Target
from kubernetes_stand_in import skip_without_pods
from kubernetes_stand_in.stand_in import kubernetes_stand_in
from live_stack import wait_for
from rdev.adapters.workspaces.kubernetes import names
from rdev.adapters.workspaces.kubernetes.access import Access
from rdev.adapters.workspaces.kubernetes.api import Api, ApiRefused
from rdev.adapters.workspaces.kubernetes.exec import Execs
from rdev.adapters.workspaces.kubernetes.manifests import pod_spec
from rdev.adapters.workspaces.kubernetes.pod_commands import PodCommands
from rdev.adapters.workspaces.kubernetes.template import Resources, Template
from rdev.adapters.workspaces.kubernetes.templates import Templates
from rdev.adapters.workspaces.kubernetes.view import View
from rdev.adapters.workspaces.kubernetes.workspaces import KubernetesWorkspaces
from small_cluster import NAMESPACE

KUBECONFIG, IMAGE = "RDEV_TEST_KUBECONFIG", "RDEV_TEST_IMAGE"
SMALL = {"memory": "512Mi", "cpu": "1", "cpu_request": "100m", "ephemeral_storage": "1Gi"}
_NAMESPACES = "/api/v1/namespaces"
_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


@dataclass(frozen=True)
class Cluster:
    kubeconfig: Path
    namespace: str
    image: str

    @contextmanager
    def seen(self) -> Iterator[KubernetesWorkspaces]:
        """Its workspaces, as a process of rdev has them."""
        access = Access(self.kubeconfig)
        api = Api(access.client)
        view = View(api, (self.namespace,))
        workspaces = KubernetesWorkspaces(
            api,
            view,
            Templates(api, self.namespace, "rdev-templates", image=self.image),
            PodCommands(Execs(access.client, api), view, drain_s=DRAIN_S),
        )
        try:
            yield workspaces
        finally:
            workspaces.close()


@contextmanager
def made_by_rdev(cluster: Cluster) -> Iterator[Target]:
    with cluster.seen() as workspaces:
        yield Target(workspaces, cluster.seen)


@contextmanager
def made_by_others(cluster: Cluster) -> Iterator[Target]:
    """A pod with a label, and a folder that ends with it."""
    api = Api(Access(cluster.kubeconfig).client)

    def make(project: str) -> None:
        api.create(names.pods_path(cluster.namespace), _pod(project, cluster.image))

    def unmake(project: str) -> None:
        api.delete(names.pods_path(cluster.namespace, project), {"gracePeriodSeconds": 0})

    try:
        with cluster.seen() as workspaces:
            yield Target(workspaces, cluster.seen, make=make, unmake=unmake)
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
    kubeconfig = Path(os.environ[KUBECONFIG])
    api = Api(Access(kubeconfig).client, timeout_s=30)
    namespace = f"rdev-suite-{uuid4().hex[:8]}"
    try:
        if how is made_by_rdev and not _gives_out_volumes(api):
            pytest.skip("this cluster has no default StorageClass, so rdev can make no projects")
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": namespace, "labels": labels}
        api.create(_NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        try:
            # It comes by itself, a moment after the namespace; no pod is let in before.
            wait_for(lambda: _has_account(api, namespace))
            api.create(names.config_map_path(namespace), _templates(os.environ[IMAGE]))
            with how(Cluster(kubeconfig, namespace, os.environ[IMAGE])) as target:
                yield target
        finally:
            api.delete(f"{_NAMESPACES}/{namespace}")
    finally:
        api.close()


def _templates(image: str) -> dict[str, Any]:
    """As small as the suite can do with: whoever runs it may have a cluster on a laptop."""
    made = {"image": image, "resources": SMALL, "volume": {"size": "1Gi"}}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "rdev-templates"},
        "data": {"default": json.dumps(made)},
    }


def _has_account(api: Api, namespace: str) -> bool:
    try:
        api.get(f"{_NAMESPACES}/{namespace}/serviceaccounts/default")
    except ApiRefused:
        return False
    return True


def _gives_out_volumes(api: Api) -> bool:
    try:
        classes = api.get(_CLASSES)["items"]
    except ApiRefused:
        return False
    return any(
        (each["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
        for each in classes
    )
