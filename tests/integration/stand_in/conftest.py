"""A stand-in for the tests of this folder, and what a Kubernetes client does with it."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.client import ApiClient, ApiException, CoreV1Api
from kubernetes.stream import stream
from kubernetes.stream.ws_client import WSClient

from kubernetes_stand_in import skip_without_pods
from kubernetes_stand_in.stand_in import StandIn, kubernetes_stand_in
from live_stack import wait_for
from rdev.adapters.workspaces.kubernetes.manifests import stateful_set
from rdev.adapters.workspaces.kubernetes.template import Template
from small_cluster import NAMESPACE, SETS

SHELLS = ("debian", "alpine", "distroless-sh")


@pytest.fixture(scope="session", autouse=True)
def _pods_can_be_had() -> None:
    skip_without_pods()


@dataclass
class There:
    """The stand-in, and what a client of it does."""

    cluster: StandIn
    kubeconfig: Path
    open: ExitStack

    @property
    def core(self) -> CoreV1Api:
        """A client of its own connections: an exec swaps its methods."""
        configuration = client.Configuration()
        config.load_kube_config(str(self.kubeconfig), client_configuration=configuration)
        made = ApiClient(configuration)
        self.open.callback(made.rest_client.pool_manager.clear)
        return CoreV1Api(made)

    def await_running(self, pod: str) -> Any:
        def running() -> Any:
            try:
                seen = self.core.read_namespaced_pod(pod, NAMESPACE)
            except ApiException:
                return None
            statuses = seen.status.container_statuses
            return seen if statuses and statuses[0].ready else None

        return wait_for(running)

    def exec(self, pod: str, *argv: str, stdin: bool = False) -> WSClient:
        self.await_running(pod)
        opened = stream(
            self.core.connect_get_namespaced_pod_exec,
            pod,
            NAMESPACE,
            command=list(argv),
            stdin=stdin,
            stdout=True,
            stderr=True,
            _preload_content=False,
            binary=True,
        )
        assert isinstance(opened, WSClient)
        # Its own close does nothing once the server has closed: the socket would stay open.
        self.open.callback(opened.sock.shutdown)
        return opened

    def run(self, pod: str, *argv: str) -> tuple[bytes, bytes, dict[str, Any]]:
        opened = self.exec(pod, *argv)
        opened.run_forever(timeout=30)
        out, err, status = (opened.read_channel(each) for each in (1, 2, 3))
        return out or b"", err or b"", json.loads(status or "null")

    def sh(self, pod: str, line: str) -> bytes:
        return self.run(pod, "sh", "-c", line)[0]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StandIn, Path]]:
    with kubernetes_stand_in(tmp_path_factory.mktemp("stand-in")) as made:
        for image in SHELLS:
            _put_set(made[0], image)
        yield made


@pytest.fixture
def there(cluster: tuple[StandIn, Path]) -> Iterator[There]:
    with ExitStack() as stack:
        yield There(*cluster, stack)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[There]:
    """One that the test may break for good."""
    with kubernetes_stand_in(tmp_path) as made, ExitStack() as stack:
        _put_set(made[0], "debian")
        yield There(*made, stack)


def _put_set(cluster: StandIn, image: str) -> None:
    template = Template(image=f"registry.test/{image}:1")
    made = stateful_set(image, template, template_name="default")
    made["metadata"]["generation"] = 1
    cluster.put(SETS, made)
