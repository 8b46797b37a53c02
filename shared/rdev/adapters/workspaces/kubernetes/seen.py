"""What is kept of pods and StatefulSets, out of what the API says of them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rdev.adapters.workspaces.kubernetes import names
from rdev.adapters.workspaces.kubernetes.pod_ref import PodRef
from rdev.adapters.workspaces.kubernetes.reasons import (
    Problem,
    end_before,
    end_of,
    no_container,
    problem_of,
)

_RUNNING = "Running"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that carries the label."""

    project_id: str
    ref: PodRef
    """Without `container_started` while the container does not run."""
    created_at: str
    ours: bool
    running: bool
    """The container where commands run does."""
    deleting: bool
    problem: Problem | None
    """Why it does not run, as far as it says so."""
    end: Problem | None
    """Why it goes or went, as far as it says so."""
    end_before: Problem | None
    """Why its container was started anew, if it was."""
    root: str | None
    set_uid: str | None
    """Of the StatefulSet that it belongs to, if any."""


@dataclass(frozen=True, slots=True)
class Set:
    """A StatefulSet that carries the label."""

    project_id: str
    namespace: str
    name: str
    created_at: str
    ours: bool
    replicas: int
    settled: bool
    """Its controller has seen what is asked of it."""
    deleting: bool
    uid: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The cluster would not have a set's pod: its quota, Pod Security, a webhook."""

    namespace: str
    set_name: str
    at: str
    message: str


def pod_of(raw: Mapping[str, Any]) -> Pod | None:
    """None where it carries no label (any more)."""
    meta, status = raw["metadata"], raw.get("status") or {}
    labels, notes = meta.get("labels") or {}, meta.get("annotations") or {}
    project_id = labels.get(names.PROJECT)
    if not project_id:
        return None
    containers = [each.get("name", "") for each in (raw.get("spec") or {}).get("containers") or ()]
    container = notes.get(names.CONTAINER) or next(iter(containers), "")
    state = _container(status, container)
    running = (state.get("state") or {}).get("running")
    deleting = bool(meta.get("deletionTimestamp"))
    return Pod(
        project_id=project_id,
        ref=PodRef(
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            container=container,
            container_started=_started(running or {}, state),
        ),
        created_at=str(meta.get("creationTimestamp") or ""),
        ours=labels.get(names.MANAGED_BY) == names.US,
        running=running is not None and status.get("phase") == _RUNNING,
        deleting=deleting,
        problem=problem_of(status, state) if container in containers else no_container(container),
        end=end_of(status, state, deleting=deleting),
        end_before=end_before(state),
        root=notes.get(names.ROOT),
        set_uid=next(
            (
                each["uid"]
                for each in meta.get("ownerReferences") or ()
                if each["kind"] == "StatefulSet"
            ),
            None,
        ),
    )


def set_of(raw: Mapping[str, Any]) -> Set | None:
    meta, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    labels = meta.get("labels") or {}
    project_id = labels.get(names.PROJECT)
    if not project_id:
        return None
    return Set(
        project_id=project_id,
        namespace=meta["namespace"],
        name=meta["name"],
        created_at=str(meta.get("creationTimestamp") or ""),
        ours=labels.get(names.MANAGED_BY) == names.US,
        replicas=int(spec.get("replicas", 1)),
        settled=int(status.get("observedGeneration") or 0) >= int(meta.get("generation") or 0),
        deleting=bool(meta.get("deletionTimestamp")),
        uid=meta["uid"],
    )


def refusal_of(raw: Mapping[str, Any]) -> Refusal | None:
    """Of an event about a StatefulSet."""
    about = raw.get("involvedObject") or {}
    return Refusal(
        namespace=str(about.get("namespace") or ""),
        set_name=str(about.get("name") or ""),
        at=str(raw.get("lastTimestamp") or raw.get("eventTime") or ""),
        message=str(raw.get("message") or ""),
    )


def _started(running: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    at = running.get("startedAt")
    return f"{at}+{state.get('restartCount') or 0}" if at else ""


def _container(status: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    for each in status.get("containerStatuses") or ():
        if each.get("name") == name:
            return dict(each)
    return {}
