"""The stand-in's API server, and what tests do to it behind the API's back."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

from kubernetes_stand_in.container import Container
from kubernetes_stand_in.exec_socket import V4, V5, ExecSocket, Fault, Wire
from kubernetes_stand_in.node import ACCOUNTS, NAMESPACES, Node
from small_cluster import NAMESPACE, PODS
from small_cluster_server import Handler, serving


class StandIn(Node):
    """One namespace's worth: names of objects are told apart by their kind alone."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.wires: set[Wire] = set()
        self.execs = 0
        """Exec connections so far."""
        self.faults: list[Fault] = []
        """Each befalls one of the next exec connections."""
        self.exec_frozen = False
        self.speaks: tuple[str, ...] = (V5, V4)
        """The protocols of exec that its API server knows."""

    # --- faults ----------------------------------------------------------------------------------

    def cut_execs(self) -> None:
        """As when the kubelet restarts: connections go, processes live."""
        for wire in list(self.wires):
            wire.cut()

    def freeze_execs(self) -> None:
        """Nothing moves on them any more, and nobody hears of it."""
        for wire in list(self.wires):
            wire.freeze()

    def kill(self, name: str, reason: str = "OOMKilled") -> None:
        """The pod's container is killed, and begun again in place."""
        with self.changed:
            life = self.lives[name]
        self.restart(name, life, reason)

    def start_node_anew(self, name: str) -> None:
        """It comes up in another boot, and begins the pod's container again in place."""
        self.boot_id = str(uuid.uuid4())
        self.kill(name, "Unknown")

    def crash_loop(self, name: str, message: str) -> None:
        """The pod's container is killed, and cannot be started again, for this reason."""
        with self.changed:
            life = self.lives[name]
            container, life.container = life.container, None
            life.restarts += 1
            life.status = {
                "terminated": {"exitCode": 128, "reason": "StartError", "message": message}
            }
        if container is not None:
            container.kill()
        waits = {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting"}
        self.status(name, **self._status(life, {"waiting": waits}))

    def looks_up(self, name: str) -> None:
        """In its crash loop: it runs again, for too short a time to be asked anything."""
        running = {"running": {"startedAt": self.now()}}
        self.status(name, **self._status(self.lives[name], running))

    def evict(self, name: str, message: str = "The node was low on resource: memory.") -> None:
        """As the kubelet does: its processes are killed, its object stays and says why."""
        with self.changed:
            life = self.lives[name]
            life.ending = True
        if life.container is not None:
            life.container.kill()
        life.container, life.ending = None, False
        self.status(name, phase="Failed", reason="Evicted", message=message)

    def lose_node(self) -> None:
        """Nobody hears of its pods, which stand there as they were, but for not being ready; their
        exec connections hang."""
        self.down = self.exec_frozen = True
        self.freeze_execs()
        with self.changed:
            for name in list(self.lives):
                status = (self.get(PODS, name) or {}).get("status", {})
                conditions = [
                    each for each in status.get("conditions", ()) if each["type"] != "Ready"
                ]
                conditions.append({"type": "Ready", "status": "False"})
                if status:
                    self.status(name, **{**status, "conditions": conditions})

    def close(self) -> None:
        self.cut_execs()
        super().close()
        self.cut_execs()


class StandInHandler(Handler):
    cluster: StandIn

    @override
    def do_GET(self) -> None:
        if urlsplit(self.path).path in ("/readyz", "/livez"):
            self._answer(200, {})
        elif self._place(self.path)[2] == "exec":
            if self._let_in():
                self._exec()
        else:
            super().do_GET()

    @override
    def do_DELETE(self) -> None:
        kind, name, _ = self._place(self.path)
        if kind != PODS:
            super().do_DELETE()
            return
        body = self._body()
        if not self._let_in():
            return
        self._note("delete", kind)
        with self.cluster.changed:
            pod = self.cluster.get(kind, name)
            uid = body.get("preconditions", {}).get("uid")
            if pod is None:
                self._refuse(404, "NotFound")
            elif uid not in (None, pod["metadata"]["uid"]):
                self._refuse(409, "Conflict")
            else:
                query = parse_qs(urlsplit(self.path).query)
                grace = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds", [None])[0])
                self.cluster.remove(PODS, name, None if grace is None else float(grace))
                self._answer(200, pod)

    @override
    def _not_admitted(self, kind: str, body: dict[str, Any]) -> str:
        if kind == NAMESPACES:
            return ""
        namespace = urlsplit(self.path).path.split("/namespaces/")[1].partition("/")[0]
        body["metadata"]["namespace"] = namespace
        has_account = namespace == NAMESPACE or self.cluster.get(ACCOUNTS, "default")
        if kind == PODS and not has_account:
            return f'error looking up service account {namespace}/default: "default" not found'
        return ""

    def _place(self, path: str) -> tuple[str, str, str]:
        """Kind, name and part; any namespace will do."""
        parts = urlsplit(path).path.strip("/").split("/")
        if "namespaces" not in parts:
            return (parts[-1], "", "")
        at = parts.index("namespaces")
        if len(parts) - at <= 2:
            return ("namespaces", *(parts[at + 1 :] or [""]), "")  # type: ignore[return-value]
        return (*parts[at + 2 :], "", "")[:3]  # type: ignore[return-value]

    def _exec(self) -> None:
        cluster, (_, name, _) = self.cluster, self._place(self.path)
        wanted = parse_qs(urlsplit(self.path).query).get("container", [""])[0]
        self._note("get", "pods/exec")
        with cluster.changed:
            life = cluster.lives.get(name)
            cluster.execs += 1
            fault = cluster.faults.pop(0) if cluster.faults else Fault()
        if (PODS, name) not in cluster.objects:
            self._refuse(404, "NotFound", message=f'pods "{name}" not found')
        elif wanted and wanted not in _containers(cluster.objects[PODS, name]):
            said = f"container {wanted} is not valid for pod {name}"
            self._refuse(400, "BadRequest", message=said)
        elif self.headers.get("Upgrade", "").lower() != "websocket":
            self._refuse(400, "BadRequest")
        else:
            wire = Wire(self.connection, fault)
            cluster.wires.add(wire)
            try:
                self._talk(wire, life.container if life else None)
            except OSError:
                wire.cut()
            finally:
                cluster.wires.discard(wire)
                self.close_connection = True

    def _talk(self, wire: Wire, container: Container | None) -> None:
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        session = ExecSocket(wire, self.headers.items(), self.path, self.cluster.speaks)
        if session.protocol is None:
            self._refuse(403, "Forbidden")
            return
        not_there = "unable to upgrade connection: container not found"
        if container is None and session.protocol == V4:  # the node itself answers
            self._refuse(500, "InternalError", message=not_there)
            return
        session.accept()
        if container is None:
            session.refuse(f"Internal error occurred: {not_there}")
            return
        if self.cluster.exec_frozen:
            wire.thawed.wait()
            return
        try:
            wants_stdin = query.get("stdin", [""])[0].lower() in ("true", "1")
            process = container.run(query["command"], stdin=wants_stdin)
        except FileNotFoundError as exc:
            session.refuse(
                "error executing command in container: failed to exec in container: failed to "
                f'start exec: OCI runtime exec failed: exec failed: exec: "{exc}": executable file '
                "not found in $PATH: unknown"
            )
            return
        session.serve(process)


def _containers(pod: dict[str, Any]) -> list[str]:
    return [each["name"] for each in pod["spec"]["containers"]]


@contextmanager
def kubernetes_stand_in(folder: Path) -> Iterator[tuple[StandIn, Path]]:
    """The cluster, and a kubeconfig for it."""
    cluster = StandIn(folder)
    try:
        with serving(cluster, StandInHandler, folder) as kubeconfig:
            yield cluster, kubeconfig
    finally:
        cluster.close()
