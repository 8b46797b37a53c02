"""`echo hi` in a pod, from nothing to its exit code, one after another; and 8 MB out of it.

The reference is the Python client's own exec (`kubernetes.stream`), in the same pod: of a real
cluster, or of the stand-in, as for commands_in_pods."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

from kubernetes.client import ApiClient, CoreV1Api
from kubernetes.stream import stream

from bench.pods import any_cluster
from bench.rows import Row, in_turn
from live_stack import wait_for
from rdev.adapters.workspaces.kubernetes import names
from rdev.adapters.workspaces.kubernetes.access import Access
from rdev.adapters.workspaces.kubernetes.api import Api
from rdev.adapters.workspaces.kubernetes.exec import Execs
from rdev.adapters.workspaces.kubernetes.exec_status import ExecEnded
from rdev.adapters.workspaces.kubernetes.manifests import pod_spec
from rdev.adapters.workspaces.kubernetes.names import WORKSPACE_CONTAINER as CONTAINER
from rdev.adapters.workspaces.kubernetes.pod_ref import PodRef
from rdev.adapters.workspaces.kubernetes.template import Resources, Template
from real_cluster import SMALL, Cluster

TIMES = 30
HI = ["echo", "hi"]
MUCH = ["head", "-c", str(8 << 20), "/dev/zero"]
NAME = "pod"


def rows() -> Iterator[Row]:
    with any_cluster() as cluster:
        access, pod = Access(cluster.kubeconfig), PodRef(cluster.namespace, NAME, "", CONTAINER, "")
        _put_pod(cluster)
        execs, configuration = Execs(access.client, None), access.configuration()

        def ours(argv: list[str]) -> None:
            with execs.open(pod, argv) as running, suppress(ExecEnded):
                while running.receive(60):
                    pass

        def reference(argv: list[str]) -> None:
            # A client of its own: an exec swaps its methods.
            client = ApiClient(configuration)
            call = CoreV1Api(client).connect_get_namespaced_pod_exec
            streams = {"stdin": True, "stdout": True, "stderr": True}
            options = {"binary": True, "_preload_content": False}
            running = stream(call, NAME, cluster.namespace, command=argv, **streams, **options)
            while running.is_open():
                running.update(timeout=60)
                running.read_channel(1)
            running.sock.shutdown()
            client.rest_client.close()

        # Most of the first is the stand-in, beginning the process: there to be read only.
        for what, argv, times, goal in (
            ("echo hi", HI, TIMES, None),
            ("8 MB of output", MUCH, 1, 1),
        ):
            taken = in_turn(
                lambda argv=argv, times=times: _each_ms(lambda: ours(argv), times),
                lambda argv=argv, times=times: _each_ms(lambda: reference(argv), times),
            )
            yield Row(
                f"exec in a pod, {what}; reference: the Python client's",
                taken[1],
                taken[0],
                "ms",
                goal=goal,
                at_most=True,
            )
        execs.close()


def _put_pod(cluster: Cluster) -> None:
    spec = pod_spec(Template(image=cluster.image, resources=Resources.model_validate(SMALL)))
    spec["volumes"].append({"name": names.VOLUME, "emptyDir": {}})
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME}, "spec": spec}
    with closing(Api(Access(cluster.kubeconfig).client)) as api:
        api.create(names.pods_path(cluster.namespace), pod)
        there = names.pods_path(cluster.namespace, NAME)
        wait_for(lambda: api.get(there).get("status", {}).get("phase") == "Running")


def _each_ms(act: Callable[[], object], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        act()
    return (time.perf_counter() - began) * 1000 / times
