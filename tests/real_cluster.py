"""A real cluster that a kubeconfig leads to: for the suite of workspaces and for measurements.

What uses it gets a namespace of its own, at Pod Security's level `restricted`, which is deleted at
the end. Besides rights to do that it takes an image that can be pulled.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from live_stack import wait_for
from rdev.adapters.workspaces.kubernetes import names
from rdev.adapters.workspaces.kubernetes.access import Access
from rdev.adapters.workspaces.kubernetes.api import Api, ApiRefused

KUBECONFIG, IMAGE = "RDEV_TEST_KUBECONFIG", "RDEV_TEST_IMAGE"
SMALL = {"memory": "512Mi", "cpu": "1", "cpu_request": "10m", "ephemeral_storage": "1Gi"}
"""As little as the suite can do with: whoever runs it may have a cluster on a laptop."""
_NAMESPACES = "/api/v1/namespaces"
_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


@dataclass(frozen=True)
class Cluster:
    """Where projects are, and what they are made of."""

    kubeconfig: Path
    namespace: str
    image: str


def is_given() -> bool:
    return KUBECONFIG in os.environ


@contextmanager
def real_cluster() -> Iterator[Cluster]:
    """The one that the environment names."""
    cluster = Cluster(
        Path(os.environ[KUBECONFIG]), f"rdev-suite-{uuid4().hex[:8]}", os.environ[IMAGE]
    )
    with _api(cluster) as api:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": cluster.namespace, "labels": labels}
        api.create(_NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        try:
            # It comes by itself, a moment after the namespace; no pod is let in before.
            wait_for(lambda: _has_account(api, cluster.namespace))
            api.create(names.config_map_path(cluster.namespace), _templates(cluster.image))
            yield cluster
        finally:
            api.delete(f"{_NAMESPACES}/{cluster.namespace}")


def gives_out_volumes() -> bool:
    """Without a default StorageClass rdev can make no projects there."""
    with _api(Cluster(Path(os.environ[KUBECONFIG]), "", "")) as api:
        try:
            classes = api.get(_CLASSES)["items"]
        except ApiRefused:
            return False
    return any(
        (each["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
        for each in classes
    )


@contextmanager
def _api(cluster: Cluster) -> Iterator[Api]:
    api = Api(Access(cluster.kubeconfig).client, timeout_s=30)
    try:
        yield api
    finally:
        api.close()


def _templates(image: str) -> dict[str, Any]:
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
