"""1,000 projects that are pods, listed by one request: from the watched view, not from the API.

The reference asks a stand-in of the Kubernetes API, on this machine, for the same pods: what each
GET /projects would cost on top if it did. (A real API server is further away.)"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.rows import Row, in_turn
from live_stack import running_stack, wait_for
from rdev.adapters.workspaces.kubernetes.access import Access
from rdev.adapters.workspaces.kubernetes.api import Api
from small_cluster import NAMESPACE, PODS, foreign_pod
from small_cluster_server import small_cluster

PROJECTS = 1000
TIMES = 20


def rows() -> Iterator[Row]:
    with (
        tempfile.TemporaryDirectory() as folder,
        small_cluster(Path(folder)) as (there, kubeconfig),
    ):
        for number in range(PROJECTS):
            there.put(PODS, foreign_pod(f"pod-{number}", f"project-{number:04}"))
        api = Api(Access(kubeconfig).client, timeout_s=30)
        with running_stack(workspaces="kubernetes", kubeconfig=kubeconfig) as stack:
            client = stack.key("admin")

            def ours() -> float:
                return _each_ms(lambda: client.get(f"/projects?limit={PROJECTS}"))

            def reference() -> float:
                return _each_ms(lambda: api.get(f"/api/v1/namespaces/{NAMESPACE}/pods"))

            wait_for(lambda: len(client.get(f"/projects?limit={PROJECTS}").data) == PROJECTS)
            asked = len(there.requests)
            taken, listed = in_turn(ours, reference)
            lists = there.requests[asked:].count(("list", "pods"))
            yield Row(
                f"GET /projects, {PROJECTS} pods; reference: a list of the pods by the API",
                listed,
                taken,
                "ms",
            )
            yield Row(
                "its requests to the Kubernetes API; reference: those of the lists",
                3 * TIMES,
                lists - 3 * TIMES,
                "",
                goal=0,
                at_most=True,
            )
        api.close()


def _each_ms(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(TIMES):
        act()
    return (time.perf_counter() - began) * 1000 / TIMES
