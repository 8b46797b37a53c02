"""Commands in pods of the stand-in, as callers give them: queue, runners, records and streams."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from conformance.workspaces.serving import Serving
from conformance.workspaces.targets import Target
from kubernetes_stand_in.stand_in import StandIn
from live_stack import wait_for
from quick_runner import LEASE_S, quick_rules
from rdev.adapters.workspaces.kubernetes.access import Access
from rdev.adapters.workspaces.kubernetes.api import Api
from rdev.adapters.workspaces.kubernetes.exec import Execs
from rdev.adapters.workspaces.kubernetes.pod_commands import PodCommands
from rdev.adapters.workspaces.kubernetes.templates import Templates
from rdev.adapters.workspaces.kubernetes.view import View
from rdev.adapters.workspaces.kubernetes.workspaces import KubernetesWorkspaces
from rdev.domain.commands import Command, Status
from rdev.services.lifecycle import Lifecycle
from rdev.services.runner import Runner
from small_cluster import NAMESPACE, PODS

IMAGE = "registry.test/debian:1"
GONE_S = 0.5
SILENCE_S = 1.5
CANNOT_START = "container init was OOM-killed (memory limit too low?)"
"""Said of a pod whose container does not come up again."""
TESTS = Path(__file__).parents[2]


@contextmanager
def seen(kubeconfig: Path) -> Iterator[KubernetesWorkspaces]:
    """The pods as one process of rdev has them, which loses its patience soon."""
    access = Access(kubeconfig)
    api = Api(access.client, timeout_s=2, breaker_failures=3, breaker_s=0.5)
    view = View(api, (NAMESPACE,))
    execs = Execs(access.client, api, connect_s=2, ping_s=0.5, silence_s=SILENCE_S)
    workspaces = KubernetesWorkspaces(
        api,
        view,
        Templates(api, NAMESPACE, "rdev-templates", image=IMAGE),
        PodCommands(execs, view, drain_s=0.1),
    )
    try:
        yield workspaces
    finally:
        workspaces.close()


def keeping(image: str = "debian", **container: object) -> dict[str, object]:
    """A pod of others, without a volume but for /kept: a claim that outlives it. Commands' files
    go with the pod."""
    first = {"name": "app", "image": f"registry.test/{image}:1", **container}
    first.setdefault("volumeMounts", [{"name": "kept", "mountPath": "/kept"}])
    claim = {"claimName": "kept"}
    return {"containers": [first], "volumes": [{"name": "kept", "persistentVolumeClaim": claim}]}


@dataclass
class Running:
    """One project in a pod, and what is done with it."""

    there: StandIn
    kubeconfig: Path
    database_url: str
    redis_url: str
    stack: ExitStack
    project: str = field(default_factory=lambda: f"p-{uuid4().hex[:8]}")

    def __post_init__(self) -> None:
        self.workspaces = self.stack.enter_context(seen(self.kubeconfig))
        target = Target(self.workspaces, lambda: seen(self.kubeconfig))
        self.serving = Serving(target, self.project, self.database_url, self.redis_url)
        self.stack.callback(self.serving.stack.close)

    # --- its pod ---------------------------------------------------------------------------------

    @property
    def pod(self) -> str:
        return f"{self.project}-0"

    def create(self) -> None:
        self.workspaces.create(self.project, git_url=None)
        self.await_running()

    def put(self, spec: dict[str, Any], **annotations: str) -> None:
        """Its pod, as others make it."""
        meta = {"labels": {"rdev.dev/project": self.project}, "annotations": annotations}
        self.there.put(PODS, {"metadata": {"name": self.pod, **meta}, "spec": spec})
        self.await_running()

    def await_running(self) -> None:
        wait_for(lambda: self.workspaces.state(self.project).running)

    def reads(self, name: str, folder: str = "/data/workspace") -> str:
        """What a file of the pod holds, looked at from outside; empty where there is none."""
        try:
            return (self.root(folder) / name).read_text()
        except OSError:
            return ""

    def writes(self, name: str, folder: str = "/data/workspace") -> None:
        """An empty file, as soon as there is a pod that can have it."""

        def written() -> bool:
            try:
                (self.root(folder) / name).write_text("")
            except OSError:  # going, or not there yet
                return False
            return True

        wait_for(written)

    def root(self, folder: str) -> Path:
        life = self.there.lives.get(self.pod)
        if life is None or life.container is None:
            return Path("/nonexistent")
        return Path(f"/proc/{life.container.pid}/root{folder}")

    def forget_kept(self) -> None:
        """What pods as `keeping` makes them have left in /kept."""
        kept = self.there.folder / "claims" / "kept"
        if kept.exists():
            kept.rename(kept.with_name(self.project))

    # --- its commands ----------------------------------------------------------------------------

    @contextmanager
    def runner(self, *, of_another: bool = False, **following: float) -> Iterator[Runner]:
        """One that hands over what still runs when it is left; `following` as in its rules."""
        with ExitStack() as stack:
            workspaces = (
                stack.enter_context(seen(self.kubeconfig)) if of_another else self.workspaces
            )
            transaction = self.serving.database.transaction
            runner = Runner(
                f"runner-{uuid4().hex[:8]}",
                transaction,
                self.serving.tickets,
                self.serving.streams,
                workspaces,
                quick_rules(slots=8, max_concurrent=8, **{"gone_s": GONE_S, **following}),
                lifecycle=Lifecycle(transaction, workspaces, patience_s=0.2),
            )
            thread = threading.Thread(target=runner.run, daemon=True)
            thread.start()
            try:
                yield runner
            finally:
                runner.stop()
                thread.join(60)

    @contextmanager
    def runner_process(self, fail_points: str = "") -> Iterator["subprocess.Popen[bytes]"]:
        """One of its own, to be killed, or that kills itself where it is told to."""
        own = {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "WORKSPACES": "kubernetes",
            "KUBECONFIG": str(self.kubeconfig),
            "KUBERNETES_NAMESPACES": NAMESPACE,
            "HOME": str(self.kubeconfig.parent),
            "LEASE_S": str(LEASE_S),
            "RENEW_S": str(LEASE_S / 4),
            "FAIL_POINTS": fail_points,
        }
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        process = subprocess.Popen(
            [sys.executable, str(TESTS / "running_process.py")],
            env=kept | {f"RDEV_{name}": value for name, value in own.items()},
            cwd=self.kubeconfig.parent,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def dies_at(self, point: str) -> None:
        """A runner takes what waits, and is gone when it comes to this point."""
        with self.runner_process(point) as process:
            assert process.wait(60) == -signal.SIGKILL

    def submit(self, line: str, **more: Any) -> Command:
        return self.serving.submit(line, **more)

    def get(self, command: Command) -> Command:
        return self.serving.get(command)

    def ended(self, command: Command) -> Command:
        wait_for(lambda: self.get(command).status.final)
        return self.get(command)

    def await_running_command(self, command: Command, said: bytes) -> None:
        wait_for(lambda: self.streamed(command).startswith(said))
        wait_for(lambda: self.get(command).status is Status.RUNNING)

    def streamed(self, command: Command) -> bytes:
        return self.serving.streamed(command)

    def remove(self) -> None:
        self.workspaces.delete(self.project, lambda: None)
        self.there.vanish(self.pod)
