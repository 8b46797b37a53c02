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
CLAIMS = "persistentvolumeclaims"


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
        self.keeps: str | None = None
        """Of this kind nothing may be deleted, an admission webhook says."""
        self.collects = True
        """What belongs to objects that are gone is taken away. A cluster takes its time for it."""

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

    # --- its controllers -------------------------------------------------------------------------

    def reconcile(self) -> None:
        with self.changed:
            for (kind, name), raw in list(self.objects.items()):
                if kind == SETS and self.by_itself:
                    self._reconcile(name, raw)
                if kind in (PODS, CLAIMS) and self.collects and self._owner_is_gone(raw):
                    self.delete(kind, name)
                if kind == CLAIMS and raw["metadata"].get("deletionTimestamp"):
                    self.delete(CLAIMS, name)

    def delete(self, kind: str, name: str) -> None:
        """As who asks the API for it: a claim stays until its pod is gone."""
        with self.changed:
            raw = self.objects.get((kind, name))
            if raw is None:
                return
            meta = raw["metadata"]
            if kind != CLAIMS or (PODS, meta["annotations"]["pod"]) not in self.objects:
                self.remove(kind, name)
            elif not meta.get("deletionTimestamp"):
                self.put(CLAIMS, {**raw, "metadata": {**meta, "deletionTimestamp": _now()}})

    def _owner_is_gone(self, raw: dict[str, Any]) -> bool:
        owners = raw["metadata"].get("ownerReferences")
        if not owners:
            return False
        found = self.objects.get((SETS, owners[0]["name"]))
        return found is None or found["metadata"]["uid"] != owners[0]["uid"]

    def _claims_are_there(self, raw: dict[str, Any], pod: str) -> bool:
        """Makes those that are not. One that is going cannot be used."""
        for each in raw["spec"].get("volumeClaimTemplates", ()):
            name = f"{each['metadata']['name']}-{pod}"
            if (claim := self.objects.get((CLAIMS, name))) is None:
                meta = {
                    "name": name,
                    "labels": each["metadata"].get("labels", {}),
                    "annotations": {"pod": pod},
                    "ownerReferences": owned_by(raw),
                }
                self.put(CLAIMS, {"metadata": meta})
            elif claim["metadata"].get("deletionTimestamp"):
                return False
        return True

    def _reconcile(self, name: str, raw: dict[str, Any]) -> None:
        pod = f"{name}-0"
        wanted = raw["spec"]["replicas"] > 0
        if wanted and (PODS, pod) not in self.objects:
            if self._claims_are_there(raw, pod):
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
            "ownerReferences": owned_by(raw),
        },
        "spec": template["spec"],
        "status": running(template["spec"]["containers"][0]["name"]),
    }


def owned_by(raw: dict[str, Any]) -> list[dict[str, str]]:
    meta = raw["metadata"]
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet"}
    return [{**owner, "name": meta["name"], "uid": meta["uid"]}]


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
