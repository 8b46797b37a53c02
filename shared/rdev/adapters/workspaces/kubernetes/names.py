"""What things are called in the cluster."""

import hashlib

PROJECT = "rdev.dev/project"
"""The label that makes a project of a pod or StatefulSet. Its value is the project's id."""
MANAGED_BY = "app.kubernetes.io/managed-by"
US = "rdev"
TEMPLATE = "rdev.dev/template"
CONTAINER = "rdev.dev/container"
"""An annotation of pods that others made: in which container commands run; else the first."""
ROOT = "rdev.dev/root"
"""An annotation of pods: where the folder lies that holds the workspace and the commands' files;
else the container's own /workspace and /tmp."""

WORKSPACE_CONTAINER = "workspace"
VOLUME = "data"
_LONGEST = 50
"""Of a StatefulSet's name: its pods carry it in a label, with a number and a hash behind it."""


def set_name(project_id: str) -> str:
    """The StatefulSet's. Long ids are cut, with a hash that keeps them apart."""
    if len(project_id) <= _LONGEST:
        return project_id
    digest = hashlib.sha256(project_id.encode()).hexdigest()[:8]
    return f"{project_id[: _LONGEST - 9]}-{digest}"


def sets_path(namespace: str, name: str = "") -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/statefulsets" + (f"/{name}" if name else "")


def scale_path(namespace: str, name: str) -> str:
    return f"{sets_path(namespace, name)}/scale"


def claim_name(project_id: str) -> str:
    """That of the volume of the set's one pod."""
    return f"{VOLUME}-{set_name(project_id)}-0"


def claims_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"


def pods_path(namespace: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/pods" + (f"/{name}" if name else "")


def events_path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/events"


def config_map_path(namespace: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps" + (f"/{name}" if name else "")
