"""A few objects of a Kubernetes API over HTTP: what the project side of rdev asks of a cluster,
without containers. StatefulSets get their pod and lose it; what else befalls pods, tests say.

`requests` holds every verb and resource that was asked for, as RBAC names them.
"""

import json
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import Any

NAMESPACE = "projects"
PODS, SETS, MAPS, EVENTS = "pods", "statefulsets", "configmaps", "events"


class SmallCluster:
    """Its state under one lock. Every change gets the next resourceVersion and goes to all
    watches."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.log: list[tuple[int, str, str, dict[str, Any]]] = []
        self.version = 100
        self.forgotten = 0
        """Watches from before this version get 410."""
        self.requests: list[tuple[str, str]] = []
        self.away = False
        """The API server answers nobody, and hangs up on those who watch."""
        self.busy_s = 0
        """Answers 429 with this Retry-After."""
        self.brief = False
        """Ends every watch as soon as it begins."""
        self.closed = False
        self.by_itself = True
        """The pods of a StatefulSet come up and go away without a word."""

    # --- for tests -------------------------------------------------------------------------------

    def put(self, kind: str, raw: dict[str, Any]) -> dict[str, Any]:
        with self.changed:
            meta = raw["metadata"]
            key = (kind, meta["name"])
            event = "MODIFIED" if key in self.objects else "ADDED"
            self.version += 1
            meta.setdefault("uid", str(uuid.uuid4()))
            meta.setdefault("namespace", NAMESPACE)
            meta.setdefault("creationTimestamp", _now())
            meta["resourceVersion"] = str(self.version)
            self.objects[key] = raw
            self._tell(event, kind, raw)
            return raw

    def remove(self, kind: str, name: str) -> None:
        with self.changed:
            raw = self.objects.pop((kind, name), None)
            if raw is not None:
                self.version += 1
                raw["metadata"]["resourceVersion"] = str(self.version)
                self._tell("DELETED", kind, raw)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        with self.changed:
            return self.objects.get((kind, name))

    def status(self, name: str, **status: Any) -> None:
        """Say how a pod is."""
        with self.changed:
            pod = json.loads(json.dumps(self.objects[PODS, name]))
            pod["status"] = status
            self.put(PODS, pod)

    def forget(self) -> None:
        """Watches have to begin with a list: 410 for those who ask from before now."""
        with self.changed:
            self.forgotten = self.version
            self.log.clear()
            self.hang_up()

    def hang_up(self) -> None:
        with self.changed:
            self.hung_up = time.monotonic()
            self.changed.notify_all()

    hung_up = 0.0

    def _tell(self, event: str, kind: str, raw: dict[str, Any]) -> None:
        self.log.append((self.version, event, kind, json.loads(json.dumps(raw))))
        self.changed.notify_all()

    # --- the controller of StatefulSets ----------------------------------------------------------

    def reconcile(self) -> None:
        with self.changed:
            for (kind, name), raw in list(self.objects.items()):
                if kind == SETS and self.by_itself:
                    self._reconcile(name, raw)
                owner = raw["metadata"].get("ownerReferences")
                if kind == PODS and owner and (SETS, owner[0]["name"]) not in self.objects:
                    self.remove(PODS, name)

    def _reconcile(self, name: str, raw: dict[str, Any]) -> None:
        pod = f"{name}-0"
        wanted = raw["spec"]["replicas"] > 0
        if wanted and (PODS, pod) not in self.objects:
            self.put(PODS, pod_of(raw, pod))
        elif not wanted:
            self.remove(PODS, pod)
        status = {"observedGeneration": raw["metadata"]["generation"]}
        if raw.get("status") != status:
            self.put(SETS, {**raw, "status": status})


def pod_of(raw: dict[str, Any], name: str) -> dict[str, Any]:
    template = raw["spec"]["template"]
    return {
        "metadata": {
            "name": name,
            "namespace": raw["metadata"]["namespace"],
            **json.loads(json.dumps(template["metadata"])),
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "StatefulSet",
                    "name": raw["metadata"]["name"],
                    "uid": raw["metadata"]["uid"],
                }
            ],
        },
        "spec": template["spec"],
        "status": running(template["spec"]["containers"][0]["name"]),
    }


def running(container: str = "workspace") -> dict[str, Any]:
    state = {"running": {"startedAt": _now()}}
    return {"phase": "Running", "containerStatuses": [{"name": container, "state": state}]}


def foreign_pod(name: str, project: str, **annotations: str) -> dict[str, Any]:
    """One that others made."""
    return {
        "metadata": {
            "name": name,
            "labels": {"rdev.dev/project": project},
            "annotations": annotations,
        },
        "spec": {"containers": [{"name": "app"}]},
        "status": running("app"),
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
