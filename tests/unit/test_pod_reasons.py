"""Kubernetes' words for a pod in trouble, and what a person is told."""

from typing import Any

import pytest

from rdev.adapters.workspaces.kubernetes.seen import pod_of
from rdev.adapters.workspaces.kubernetes.view import state_of
from rdev.domain.workspaces import State

POD = {
    "metadata": {
        "name": "web-0",
        "namespace": "n",
        "uid": "u",
        "labels": {"rdev.dev/project": "web"},
    },
    "spec": {"containers": [{"name": "app"}]},
}


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"name": "app", "state": state, **more}]}


def terminated(reason: str, code: int, message: str = "") -> dict[str, Any]:
    return {"terminated": {"reason": reason, "exitCode": code, "message": message}}


def unschedulable(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "message": message}
    return {"phase": "Pending", "conditions": [condition]}


def disrupted(reason: str) -> dict[str, Any]:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m"}
    return {"phase": "Failed", "conditions": [condition]}


OOM_AT_START = (
    "runc create failed: unable to start container process: container init was OOM-killed "
    "(memory limit too low?): unknown"
)
EVICTED_BY_ITSELF = 'Usage of EmptyDir volume "tmp" exceeds the limit "256Mi".'
IN_TROUBLE = [
    (waiting("ErrImagePull", "not found"), "image_pull", "cannot be pulled: not found"),
    (waiting("ImagePullBackOff", "Back-off"), "image_pull", "cannot be pulled: Back-off"),
    (waiting("InvalidImageName", "bad"), "image_pull", "no valid name"),
    (waiting("CreateContainerConfigError", 'secret "x" not found'), "bad_config", 'secret "x"'),
    (unschedulable("0/3 nodes are available"), "unschedulable", "No node takes it: 0/3 nodes"),
    (
        waiting("CrashLoopBackOff", lastState=terminated("OOMKilled", 137)),
        "oom_killed",
        "more memory than the template allows",
    ),
    (
        waiting("CrashLoopBackOff", lastState=terminated("Error", 3)),
        "crash_looping",
        "again and again: exit code 3",
    ),
    (
        waiting("CrashLoopBackOff", lastState=terminated("StartError", 128, OOM_AT_START)),
        "oom_killed",
        "no memory left to start in: runc create failed",
    ),
    (waiting("RunContainerError", OOM_AT_START), "oom_killed", "no memory left to start in"),
    (waiting("RunContainerError", 'exec: "/bin/bloom": no such file'), "no_shell", "bloom"),
    (waiting("RunContainerError", 'exec: "sh"'), "no_shell", 'has its image a `sh`?: exec: "sh"'),
    (
        waiting("CrashLoopBackOff", lastState=terminated("StartError", 128, 'exec: "sh"')),
        "no_shell",
        'has its image a `sh`?: exec: "sh"',
    ),
    (
        {"phase": "Failed", "reason": "Evicted", "message": EVICTED_BY_ITSELF},
        "evicted",
        f"Its node evicted it: {EVICTED_BY_ITSELF}",
    ),
    ({"phase": "Failed", "reason": "NodeShutdown"}, "node_shutdown", "shut down"),
    (disrupted("DeletionByTaintManager"), "node_lost", "gone or was tainted"),
    (disrupted("PreemptionByScheduler"), "preempted", "higher priority"),
    ({"phase": "Failed"}, "failed", "failed"),
    ({"phase": "Succeeded"}, "ended", "it has to wait"),
]


@pytest.mark.parametrize(("status", "reason", "words"), IN_TROUBLE)
def test_a_pod_in_trouble_says_what_it_is(status: Any, reason: str, words: str) -> None:
    pod = pod_of({**POD, "status": status})
    assert pod is not None
    state, problem = state_of(None, pod)
    assert state is State.FAILING
    assert problem is not None
    assert problem.reason == reason
    assert words in problem.message


def test_one_whose_annotation_names_no_container_of_it_says_so() -> None:
    named = {**POD["metadata"], "annotations": {"rdev.dev/container": "build"}}
    pod = pod_of({**POD, "metadata": named, "status": {"phase": "Running"}})
    assert pod is not None
    state, problem = state_of(None, pod)
    assert state is State.FAILING
    assert problem is not None
    assert (problem.reason, "build" in problem.message) == ("bad_config", True)


def test_one_that_is_on_its_way_is_in_no_trouble() -> None:
    for status in (waiting("ContainerCreating"), {"phase": "Pending"}, {}):
        pod = pod_of({**POD, "status": status})
        assert pod is not None
        assert state_of(None, pod) == (State.STARTING, None)


def test_a_container_that_was_started_anew_has_another_start_and_the_reason() -> None:
    state = {"running": {"startedAt": "2026-11-24T10:00:00Z"}}
    container = {"name": "app", "state": state, "lastState": terminated("OOMKilled", 137)}
    pod = pod_of({**POD, "status": {"phase": "Running", "containerStatuses": [container]}})
    assert pod is not None
    assert pod.running
    assert pod.ref.container_started == "2026-11-24T10:00:00Z+0"
    assert pod.end is None
    assert pod.end_before is not None
    assert pod.end_before.reason == "oom_killed"


def test_one_that_was_deleted_went_for_that_and_not_for_how_its_container_ended() -> None:
    going = {**POD["metadata"], "deletionTimestamp": "2026-11-24T10:00:00Z"}
    for code, ended in ((0, "Completed"), (137, "Error")):
        container = {"name": "app", "state": terminated(ended, code)}
        status = {"phase": "Failed", "containerStatuses": [container]}
        pod = pod_of({**POD, "metadata": going, "status": status})
        assert pod is not None
        assert pod.end is not None
        assert pod.end.reason == "deleted"


def test_one_that_is_taken_away_while_it_is_deleted_went_for_that() -> None:
    going = {**POD["metadata"], "deletionTimestamp": "2026-11-24T10:00:00Z"}
    container = {"name": "app", "state": terminated("Error", 137)}
    status = {**disrupted("DeletionByTaintManager"), "containerStatuses": [container]}
    pod = pod_of({**POD, "metadata": going, "status": status})
    assert pod is not None
    assert pod.end is not None
    assert pod.end.reason == "node_lost"


def test_without_the_label_it_is_nothing_to_rdev() -> None:
    assert pod_of({**POD, "metadata": {**POD["metadata"], "labels": {}}}) is None
