"""The one node: brings pods to life, starts their containers again, lets them go."""

import base64
import os
import shutil
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kubernetes_stand_in.container import Container, StartFailed
from kubernetes_stand_in.images import ImagePullFailed
from small_cluster import CLAIMS, PODS, SmallCluster

SECRETS, NAMESPACES, ACCOUNTS = "secrets", "namespaces", "serviceaccounts"
_ACCOUNT_AFTER_S = 0.3
"""The service account of a new namespace, without which no pod is let in, comes after it."""


@dataclass
class Life:
    """A pod on the node."""

    pod: dict[str, Any]
    container: Container | None = None
    restarts: int = 0
    status: dict[str, Any] = field(default_factory=dict)
    ending: bool = False
    starting: threading.Lock = field(default_factory=threading.Lock)
    """Held while its container is begun, and waited for by whoever ends it."""


class Node(SmallCluster):
    """A small cluster whose pods run. One container a pod, the first. What happens to them beyond
    what a client of the API can do is in `faults`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.lives: dict[str, Life] = {}
        self.boot_id = str(uuid.uuid4())
        self.clock_skew = timedelta()
        """How far ahead the times in its objects are."""
        self.unschedulable = False
        self.down = False
        """The node does nothing more: it looks after no pod."""

    # --- what the API does -----------------------------------------------------------------------

    def put(self, kind: str, raw: dict[str, Any]) -> dict[str, Any]:
        with self.changed:
            if kind == PODS and (PODS, raw["metadata"]["name"]) not in self.objects:
                raw["status"] = {"phase": "Pending"}
            if kind == NAMESPACES:
                account = {"metadata": {"name": "default", "namespace": raw["metadata"]["name"]}}
                threading.Timer(_ACCOUNT_AFTER_S, super().put, (ACCOUNTS, account)).start()
            raw["metadata"].setdefault("creationTimestamp", self.now())
            return super().put(kind, raw)

    def remove(self, kind: str, name: str, grace_s: float | None = None) -> None:
        with self.changed:
            life = self.lives.get(name) if kind == PODS else None
            if kind == NAMESPACES:
                within = [each for each in self.objects if self._lies_in(each, name)]
                for each in within:
                    self.remove(*each)
            if kind == CLAIMS:
                shutil.rmtree(self.folder / "claims" / name, ignore_errors=True)
            if life is None:
                super().remove(kind, name)
            elif not life.ending:
                self._let_go(name, life, grace_s)

    def _lies_in(self, key: tuple[str, str], namespace: str) -> bool:
        return key[0] != NAMESPACES and self.objects[key]["metadata"]["namespace"] == namespace

    def vanish(self, name: str) -> None:
        """The pod's object goes, and its processes are killed: as by force."""
        self.remove(PODS, name, grace_s=0)

    def _let_go(self, name: str, life: Life, grace_s: float | None) -> None:
        life.ending = True
        if grace_s is None:
            grace_s = life.pod["spec"].get("terminationGracePeriodSeconds", 30)
        pod = {**life.pod, "metadata": {**life.pod["metadata"], "deletionTimestamp": self.now()}}
        pod["metadata"]["deletionGracePeriodSeconds"] = int(grace_s or 0)
        pod["status"] = self.objects[PODS, name]["status"]
        super().put(PODS, pod)
        threading.Thread(target=self._end, args=(name, life, grace_s or 0)).start()

    def _end(self, name: str, life: Life, grace_s: float) -> None:
        with life.starting:
            container = life.container
        if container is not None:
            container.terminate(grace_s)
        with self.changed:
            if grace_s and life.container is not None:  # by force nobody waits for how it ended
                self.status(name, **self._over(life, life.container.exit_code or 0))
            self.lives.pop(name, None)
            super().remove(PODS, name)

    # --- what the kubelet does -------------------------------------------------------------------

    def reconcile(self) -> None:
        super().reconcile()
        if self.down:
            return
        with self.changed:
            pods = [raw for (kind, _), raw in self.objects.items() if kind == PODS]
            fresh = [pod for pod in pods if pod["metadata"]["name"] not in self.lives]
            ended = [
                (name, life)
                for name, life in self.lives.items()
                if life.container and life.container.exit_code is not None and not life.ending
            ]
        for pod in fresh:
            if self.unschedulable:
                self.tell_pending(pod, "no nodes available to schedule pods")
            else:
                self._begin(pod)
        for name, life in ended:
            self.restart(name, life)

    def tell_pending(self, pod: dict[str, Any], message: str) -> None:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        wanted = {"phase": "Pending", "conditions": [{**condition, "message": message}]}
        if pod["status"] != wanted:
            self.status(pod["metadata"]["name"], **wanted)

    def _begin(self, pod: dict[str, Any]) -> None:
        life = Life(pod)
        with self.changed:
            self.lives[pod["metadata"]["name"]] = life
        self._start(life)

    def restart(self, name: str, life: Life, reason: str = "Error") -> None:
        """In place: the same pod, new processes."""
        with self.changed:
            container, life.container = life.container, None
        if container is None:
            return
        code = container.exit_code if reason == "Error" else 137
        container.kill()
        over = {"exitCode": code or 0, "reason": reason if code else "Completed"}
        life.status = {"terminated": {**over, "startedAt": self.now(), "finishedAt": self.now()}}
        life.restarts += 1
        self._start(life)

    def _start(self, life: Life) -> None:
        pod = life.pod
        try:
            with life.starting:
                if life.ending:
                    return
                life.container = self._container(pod, life.restarts)
            state: dict[str, Any] = {"running": {"startedAt": self.now()}}
        except ImagePullFailed as exc:
            state = {"waiting": {"reason": "ImagePullBackOff", "message": str(exc)}}
        except StartFailed as exc:
            state = {"waiting": {"reason": "RunContainerError", "message": str(exc)}}
        with self.changed:
            if (PODS, pod["metadata"]["name"]) in self.objects:
                self.status(pod["metadata"]["name"], **self._status(life, state))

    def _over(self, life: Life, code: int) -> dict[str, Any]:
        """How a pod looks whose container ended for good."""
        over = {"exitCode": code, "reason": "Error" if code else "Completed"}
        phase = "Failed" if code else "Succeeded"
        return {**self._status(life, {"terminated": over}), "phase": phase}

    def _status(self, life: Life, state: dict[str, Any]) -> dict[str, Any]:
        spec = life.pod["spec"]["containers"][0]
        runs = "running" in state
        return {
            "phase": "Running" if life.container or life.restarts else "Pending",
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": str(runs)},
            ],
            "containerStatuses": [
                {
                    "name": spec["name"],
                    "image": spec["image"],
                    "imageID": spec["image"],
                    "containerID": f"stand-in://{uuid.uuid4().hex}",
                    "ready": runs,
                    "started": runs,
                    "restartCount": life.restarts,
                    "state": state,
                    "lastState": life.status,
                }
            ],
        }

    def _container(self, pod: Mapping[str, Any], number: int) -> Container:
        uid, spec = pod["metadata"]["uid"], pod["spec"]
        first = spec["containers"][0]
        user = (first.get("securityContext") or {}).get("runAsUser")
        if user is None:
            user = (spec.get("securityContext") or {}).get("runAsUser", 0)
        group = (spec.get("securityContext") or {}).get("fsGroup", user)
        mounts = {
            each["mountPath"]: self._volume(pod, each["name"], group)
            for each in first.get("volumeMounts", ())
        }
        env = {each["name"]: each.get("value", "") for each in first.get("env", ())}
        for source in first.get("envFrom", ()):
            secret = self.objects.get((SECRETS, source.get("secretRef", {}).get("name", "")), {})
            for name, value in secret.get("data", {}).items():
                env[name] = base64.b64decode(value).decode()
        place = self.folder / "pods" / uid / str(number)
        place.mkdir(parents=True)
        return Container(place, first, mounts=mounts, env=env, user=user, boot_id=self.boot_id)

    def _volume(self, pod: Mapping[str, Any], name: str, group: int) -> Path:
        """Claims outlive the pod, all else goes with it."""
        listed = {each["name"]: each for each in pod["spec"].get("volumes", ())}
        claim = listed.get(name, {}).get("persistentVolumeClaim", {}).get("claimName")
        if name not in listed:
            claim = f"{name}-{pod['metadata']['name']}"
        under = self.folder / "claims" / claim if claim else None
        folder = under or self.folder / "pods" / pod["metadata"]["uid"] / "volumes" / name
        if not folder.exists():
            folder.mkdir(parents=True)
            os.chown(folder, 0, group)
            folder.chmod(0o2775)
        return folder

    def now(self) -> str:
        return (datetime.now(UTC) + self.clock_skew).strftime("%Y-%m-%dT%H:%M:%SZ")

    def close(self) -> None:
        with self.changed:
            lives = list(self.lives.values())
            self.down = True
        for life in lives:
            if life.container is not None:
                life.container.kill()
        shutil.rmtree(self.folder / "pods", ignore_errors=True)
