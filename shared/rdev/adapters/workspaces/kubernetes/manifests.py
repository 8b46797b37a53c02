"""The StatefulSet of a project: one pod or none, and a volume that outlives both. Pure.

A StatefulSet, for it brings to zero and back without anybody remembering how the pod was made,
brings a lost pod back, never runs two at once, and takes its volume along when it is deleted.
Restricted as Pod Security's strictest level asks, and more so.
"""

from typing import Any

from rdev.adapters.workspaces.kubernetes import names
from rdev.adapters.workspaces.kubernetes.template import Template

# As process 1 it reaps what commands leave behind; it does nothing else.
_PAUSE = 'mkdir -p "$0" "$1"; trap "exit 0" TERM; while :; do sleep 3600 & wait; done'
_GRACE_S = 10


def labels(project_id: str) -> dict[str, str]:
    return {names.PROJECT: project_id, names.MANAGED_BY: names.US}


def workspace_folder(root: str) -> str:
    return f"{root}/workspace"


def commands_folder(root: str) -> str:
    return f"{root}/commands"


def stateful_set(project_id: str, template: Template, *, template_name: str) -> dict[str, Any]:
    name = names.set_name(project_id)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            "name": name,
            "labels": labels(project_id),
            "annotations": {names.TEMPLATE: template_name},
        },
        "spec": {
            "replicas": 1,
            "serviceName": name,  # asked for, but there is no such Service: nothing listens
            "selector": {"matchLabels": {names.PROJECT: project_id, names.MANAGED_BY: names.US}},
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "revisionHistoryLimit": 1,
            "persistentVolumeClaimRetentionPolicy": {
                "whenDeleted": "Delete",
                "whenScaled": "Retain",
            },
            "template": {
                "metadata": {
                    "labels": labels(project_id),
                    "annotations": {names.ROOT: template.root},
                },
                "spec": pod_spec(template),
            },
            "volumeClaimTemplates": [_claim(project_id, template)],
        },
    }


def pod_spec(template: Template) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostNetwork": False,
        "hostPID": False,
        "hostIPC": False,
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": _GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": template.user,
            "runAsGroup": template.user,
            "fsGroup": template.user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(template)],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": template.resources.ephemeral_storage}}
        ],
    }
    if template.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in template.image_pull_secrets]
    if template.node_selector:
        spec["nodeSelector"] = dict(template.node_selector)
    if template.tolerations:
        spec["tolerations"] = [each.model_dump(exclude_none=True) for each in template.tolerations]
    if template.runtime_class:
        spec["runtimeClassName"] = template.runtime_class
    return spec


def _container(template: Template) -> dict[str, Any]:
    asked = template.resources
    container: dict[str, Any] = {
        "name": names.WORKSPACE_CONTAINER,
        "image": template.image,
        "command": [
            "sh",
            "-c",
            _PAUSE,
            workspace_folder(template.root),
            commands_folder(template.root),
        ],
        "resources": {
            "requests": {
                "cpu": asked.cpu_request,
                "memory": asked.memory,
                "ephemeral-storage": asked.ephemeral_storage,
            },
            "limits": {
                "cpu": asked.cpu,
                "memory": asked.memory,
                "ephemeral-storage": asked.ephemeral_storage,
            },
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": template.read_only_root,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": names.VOLUME, "mountPath": template.root},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
        ],
    }
    if template.env_from_secrets:
        container["envFrom"] = [{"secretRef": {"name": name}} for name in template.env_from_secrets]
    return container


def _claim(project_id: str, template: Template) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": template.volume.size}},
    }
    if template.volume.storage_class:
        spec["storageClassName"] = template.volume.storage_class
    return {
        "metadata": {"name": names.VOLUME, "labels": labels(project_id)},
        "spec": spec,
    }
