"""Why a pod does not run, or went away: Kubernetes' words, and what a person makes of them. Pure.

The first word of each pair is rdev's own, for programs; docs/kubernetes.md has them all.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    reason: str
    message: str


_WAITING = {
    "ErrImagePull": ("image_pull", "The image cannot be pulled"),
    "ImagePullBackOff": ("image_pull", "The image cannot be pulled"),
    "ErrImageNeverPull": ("image_pull", "The image is not on the node, and may not be pulled"),
    "RegistryUnavailable": ("image_pull", "The image's registry does not answer"),
    "InvalidImageName": ("image_pull", "The template's image has no valid name"),
    "CreateContainerConfigError": (
        "bad_config",
        "The container cannot be made: a Secret or ConfigMap that the template names is not there",
    ),
    "CreateContainerError": ("bad_config", "The container cannot be made"),
}
_UNSTARTED = ("no_shell", "The container cannot be started; has its image a `sh`?")
_NOT_STARTED = ("StartError", "ContainerCannotRun")
_DISRUPTIONS = {
    "PreemptionByScheduler": ("preempted", "A pod of higher priority took its place"),
    "DeletionByTaintManager": ("node_lost", "Its node is gone or was tainted"),
    "DeletionByPodGC": ("node_lost", "Its node is gone"),
    "EvictionByEvictionAPI": ("evicted", "It was evicted, as a drain of its node does"),
    "TerminationByKubelet": ("evicted", "Its node evicted it"),
}
_PHASE_REASONS = {
    "Evicted": ("evicted", "Its node evicted it"),
    "NodeLost": ("node_lost", "Its node does not answer"),
    "NodeAffinity": ("unschedulable", "Its node no longer fits the template"),
    "NodeShutdown": ("node_shutdown", "Its node was shut down"),
    "Shutdown": ("node_shutdown", "Its node was shut down"),
    "Terminated": ("node_shutdown", "Its node was shut down"),
    "DeadlineExceeded": ("deadline", "It was allowed to live only for so long"),
    "UnexpectedAdmissionError": ("unschedulable", "Its node did not take it"),
    "OutOfcpu": ("unschedulable", "Its node had no CPU left"),
    "OutOfmemory": ("unschedulable", "Its node had no memory left"),
    "OutOfpods": ("unschedulable", "Its node takes no more pods"),
}
_OOM = ("oom_killed", "It wanted more memory than the template allows, and was killed")
_TOO_SMALL = ("oom_killed", "Its container found no memory left to start in")
"""What lies in a pod's memory, such as files in /dev/shm, outlives its containers."""
_OOM_SAID = re.compile(r"\boom\b|oom[-_ ]?kill", re.IGNORECASE)
_CRASHING = ("crash_looping", "Its container ends again and again")
_ENDED = ("container_ended", "Its container ended")
DELETED = Problem("deleted", "Its pod was deleted.")


def problem_of(status: Mapping[str, Any], container: Mapping[str, Any]) -> Problem | None:
    """Why a pod is not running, of its status and its container's; None: nothing stands out."""
    return _of_container(container) or _of_phase(status, container)


def _of_container(container: Mapping[str, Any]) -> Problem | None:
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    word = waiting.get("reason") or ""
    if word == "CrashLoopBackOff":
        return _end((container.get("lastState") or {}).get("terminated") or {}, _CRASHING)
    if word == "RunContainerError":
        return _not_started(waiting.get("message"))
    if word in _WAITING:
        return _told(*_WAITING[word], waiting.get("message"))
    return None


def _of_phase(status: Mapping[str, Any], container: Mapping[str, Any]) -> Problem | None:
    phase = status.get("phase")
    if phase in ("Failed", "Unknown"):
        return end_of(status, container) or Problem("failed", "The pod failed.")
    if phase == "Succeeded":
        return Problem("ended", "The pod's own program ended: it has to wait, not to run out.")
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") == "False":
        return _told("unschedulable", "No node takes it", scheduled.get("message"))
    ended = (container.get("state") or {}).get("terminated")
    return _end(ended, _CRASHING) if ended else None


def end_of(
    status: Mapping[str, Any], container: Mapping[str, Any], *, deleting: bool = False
) -> Problem | None:
    """Why a pod goes or went, of the last that it said; None: as far as it says, it runs.
    `deleting`: it was asked to go, so that its container ends is no wonder."""
    disruption = _condition(status, "DisruptionTarget")
    if disruption.get("status") == "True" and disruption.get("reason") in _DISRUPTIONS:
        return _told(*_DISRUPTIONS[disruption["reason"]], disruption.get("message"))
    if status.get("reason") in _PHASE_REASONS:
        return _told(*_PHASE_REASONS[status["reason"]], status.get("message"))
    ended = (container.get("state") or {}).get("terminated")
    if not ended:
        return None
    return DELETED if deleting and ended.get("reason") != "OOMKilled" else _end(ended, _ENDED)


def end_before(container: Mapping[str, Any]) -> Problem | None:
    """Why its container was started anew; None: it was not."""
    ended = (container.get("lastState") or {}).get("terminated")
    return _end(ended, _ENDED) if ended else None


def _end(ended: Mapping[str, Any], otherwise: tuple[str, str]) -> Problem:
    if ended.get("reason") == "OOMKilled":
        return _told(*_OOM, None)
    if ended.get("reason") in _NOT_STARTED:
        return _not_started(ended.get("message"))
    code = ended.get("exitCode")
    more = ended.get("message") or (None if code is None else f"exit code {code}")
    return _told(*otherwise, more)


def _not_started(said: object) -> Problem:
    # As runc and crun say it where the container's own first process was killed for memory.
    return _told(*(_TOO_SMALL if _OOM_SAID.search(str(said)) else _UNSTARTED), said)


def no_container(name: str) -> Problem:
    """Of a pod whose annotation says that commands run in a container which it does not have."""
    return Problem("bad_config", f"It has no container {name}, which its annotation names.")


def refused(message: str) -> Problem:
    """Of what the cluster says when it will not have a pod at all."""
    return _told("refused", "The cluster refuses its pod", message)


def _told(reason: str, message: str, more: object) -> Problem:
    said = " ".join(str(more).split())[:500] if more else ""
    return Problem(reason, f"{message}: {said}" if said else f"{message}.")


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    for each in status.get("conditions") or ():
        if each.get("type") == kind:
            return dict(each)
    return {}
