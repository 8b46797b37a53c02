"""Commands in pods, over HTTP and SSE: against the Python client's own exec, and on a real
cluster against kubectl's where that is installed, in the same pods.

On a real cluster where one is named (`make bench BENCH=commands_in_pods KUBECONFIG=… IMAGE=…`), in
a namespace that it makes and deletes. Else on a stand-in of a Kubernetes of one node whose pods are
local processes, to whose exec a real one adds its network and its kubelet; that takes root and a
busybox."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from statistics import median

import psutil
from kubernetes.client import ApiClient, Configuration, CoreV1Api
from kubernetes.stream import stream

from bench.pods import any_cluster
from bench.rows import Row, in_turn
from http_client import Http
from live_stack import Stack, running_stack, wait_for
from rdev.adapters.workspaces.kubernetes.access import Access
from real_cluster import Cluster, is_given

TIMES = 15
KUBECTL = shutil.which("kubectl") if is_given() else None
"""The stand-in knows no more of the API than rdev asks for."""
PODS = 20 if is_given() else 50
"""As many as a node of a laptop bears."""
COMMANDS = 200
SMALL_MB, LARGE_MB = 20, 1000


def rows() -> Iterator[Row]:
    with ExitStack() as stack:
        cluster = stack.enter_context(any_cluster())
        running = stack.enter_context(
            running_stack(
                workspaces="kubernetes",
                kubeconfig=cluster.kubeconfig,
                kubernetes_namespaces=cluster.namespace,
                kubernetes_image=cluster.image,
                runner_slots=COMMANDS,
            )
        )
        api = running.key("admin")
        _make(api, "web")
        yield from _first_output(api, cluster)
        yield from _memory(api, running)
        yield from _many(api, cluster)


def _first_output(api: Http, cluster: Cluster) -> Iterator[Row]:
    configuration = Access(cluster.kubeconfig).configuration()
    pod = ("web-0", "echo", "hi")
    taken, python, kubectl = in_turn(
        lambda: _median_ms(lambda: _until_output(api, "web", "echo hi")),
        lambda: _median_ms(lambda: _exec(configuration, cluster.namespace, *pod)),
        lambda: _median_ms(lambda: _kubectl(cluster, *pod)),
    )
    what = "pods: submit to first output of `echo hi`; reference:"
    # The stand-in's exec has neither a network nor a kubelet to pass, so it is no measure.
    goal = 1.0 if is_given() else None
    yield Row(f"{what} the Python client's exec", python, taken, "ms", goal, at_most=True)
    if KUBECTL:
        yield Row(f"{what} kubectl exec", kubectl, taken, "ms", goal=0.33, at_most=True)


def _memory(api: Http, running: Stack) -> Iterator[Row]:
    """A runner's own memory, at its highest, while one command writes much."""

    def peak_mb(size_mb: int) -> float:
        made = api.shell("web", f"head -c {size_mb}000000 /dev/zero", limits={"output_mb": 2000})
        highest = 0.0
        while not api.record("web", made["id"])["finished_at"]:
            pids = running.pids("runner")
            highest = max(highest, sum(psutil.Process(pid).memory_info().rss for pid in pids))
            time.sleep(0.1)
        return highest / 1e6

    small = peak_mb(SMALL_MB)
    large = peak_mb(LARGE_MB)
    what = f"pods: the runner's memory, {LARGE_MB} MB of output; reference: {SMALL_MB} MB"
    yield Row(what, small, large, "MB", goal=1.3, at_most=True)


def _many(api: Http, cluster: Cluster) -> Iterator[Row]:
    names = [f"many-{number}" for number in range(PODS)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: _make(api, name), names))
    configuration = Access(cluster.kubeconfig).configuration()

    def ours() -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(8) as pool:
            made = list(
                pool.map(lambda n: (n, api.shell(n, "true")["id"]), names * (COMMANDS // PODS))
            )
        for name, command_id in made:
            wait_for(lambda: api.record(name, command_id)["finished_at"], 300)  # noqa: B023
        return COMMANDS / (time.perf_counter() - began)

    def python() -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(8) as pool:
            each = names * (COMMANDS // PODS)
            list(
                pool.map(lambda n: _exec(configuration, cluster.namespace, f"{n}-0", "true"), each)
            )
        return COMMANDS / (time.perf_counter() - began)

    taken, reference = in_turn(ours, python)
    what = f"pods: {COMMANDS} commands over {PODS} pods; reference: the Python client's exec"
    yield Row(what, reference, taken, "/s")


def _until_output(api: Http, project: str, line: str) -> None:
    made = api.shell(project, line)
    with api.events(project, made["id"]) as reader:
        reader.read(lambda seen: any(event.type == "output" for event in seen.events))


def _make(api: Http, name: str) -> None:
    api.post("/projects", {"id": name})
    wait_for(lambda: api.get(f"/projects/{name}").data["status"]["state"] == "running")


def _exec(configuration: Configuration, namespace: str, pod: str, *argv: str) -> None:
    made = ApiClient(configuration)
    try:
        stream(
            CoreV1Api(made).connect_get_namespaced_pod_exec,
            pod,
            namespace,
            command=list(argv),
            stdin=False,
            stdout=True,
            stderr=True,
        )
    finally:
        made.rest_client.pool_manager.clear()


def _kubectl(cluster: Cluster, pod: str, *argv: str) -> None:
    if KUBECTL:
        where = ["--kubeconfig", str(cluster.kubeconfig), "--namespace", cluster.namespace]
        line = [KUBECTL, *where, "exec", pod, "--", *argv]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)


def _median_ms(act: Callable[[], object]) -> float:
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        act()
        taken.append((time.perf_counter() - began) * 1000)
    return median(taken)
