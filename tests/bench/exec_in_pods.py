"""`echo hi` in a pod, from nothing to its exit code, one after another; and 8 MB out of it.

The reference is the Python client's own exec (`kubernetes.stream`), on the same stand-in of a
cluster. Takes root, as the stand-in does."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from kubernetes.client import ApiClient, CoreV1Api
from kubernetes.stream import stream

from bench.rows import Row, in_turn
from kubernetes_stand_in.stand_in import StandIn, kubernetes_stand_in
from live_stack import wait_for
from rdev.adapters.workspaces.kubernetes.access import Access
from rdev.adapters.workspaces.kubernetes.exec import Execs
from rdev.adapters.workspaces.kubernetes.exec_status import ExecEnded
from rdev.adapters.workspaces.kubernetes.pod_ref import PodRef
from small_cluster import NAMESPACE, PODS

TIMES = 30
HI = ["echo", "hi"]
MUCH = ["head", "-c", str(8 << 20), "/dev/zero"]
POD = PodRef(NAMESPACE, "pod", "", "app", "")


def rows() -> Iterator[Row]:
    with (
        tempfile.TemporaryDirectory() as folder,
        kubernetes_stand_in(Path(folder)) as (there, kubeconfig),
    ):
        _put_pod(there)
        access = Access(kubeconfig)
        execs, configuration = Execs(access.client, None), access.configuration()

        def ours(argv: list[str]) -> None:
            with execs.open(POD, argv) as running, suppress(ExecEnded):
                while running.receive(60):
                    pass

        def reference(argv: list[str]) -> None:
            # A client of its own: an exec swaps its methods.
            client = ApiClient(configuration)
            call = CoreV1Api(client).connect_get_namespaced_pod_exec
            streams = {"stdin": True, "stdout": True, "stderr": True}
            options = {"binary": True, "_preload_content": False}
            running = stream(call, POD.name, NAMESPACE, command=argv, **streams, **options)
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


def _put_pod(there: StandIn) -> None:
    spec = {"containers": [{"name": "app", "image": "debian"}]}
    there.put(PODS, {"metadata": {"name": POD.name}, "spec": spec})
    wait_for(lambda: (life := there.lives.get(POD.name)) and life.container)


def _each_ms(act: Callable[[], object], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        act()
    return (time.perf_counter() - began) * 1000 / times
