"""Commands in pods, over HTTP and SSE, on a stand-in of a Kubernetes of one node whose pods are
local processes: against the Python client's own exec, on the same stand-in.

A real cluster adds its network and its kubelet to both, and to kubectl's exec some more. It takes
root and a busybox."""

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
from kubernetes import client, config
from kubernetes.client import ApiClient, CoreV1Api
from kubernetes.stream import stream

from bench.rows import Row, in_turn
from http_client import Http
from kubernetes_stand_in.stand_in import kubernetes_stand_in
from live_stack import Stack, running_stack, wait_for
from small_cluster import NAMESPACE

TIMES = 15
PODS = 50
COMMANDS = 200
SMALL_MB, LARGE_MB = 20, 1000


def rows() -> Iterator[Row]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _, kubeconfig = stack.enter_context(kubernetes_stand_in(folder))
        running = stack.enter_context(
            running_stack(
                workspaces="kubernetes",
                kubeconfig=kubeconfig,
                kubernetes_namespaces=NAMESPACE,
                kubernetes_image="registry.test/debian:1",
                runner_slots=COMMANDS,
            )
        )
        api = running.key("admin")
        _make(api, "web")
        yield from _first_output(api, kubeconfig)
        yield from _memory(api, running)
        yield from _many(api, kubeconfig)


def _first_output(api: Http, kubeconfig: Path) -> Iterator[Row]:
    core = _core(kubeconfig)

    def ours() -> float:
        return _each_ms(lambda: _until_output(api, "web", "echo hi"))

    def python() -> float:
        return _each_ms(lambda: _exec(core, "web-0", "echo", "hi"))

    taken, reference = in_turn(ours, python)
    what = "pods: submit to first output of `echo hi`; reference: the Python client's exec"
    yield Row(what, reference, taken, "ms", goal=1, at_most=True)


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


def _many(api: Http, kubeconfig: Path) -> Iterator[Row]:
    names = [f"many-{number}" for number in range(PODS)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: _make(api, name), names))
    core = _core(kubeconfig)

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
            list(pool.map(lambda n: _exec(core, f"{n}-0", "true"), names * (COMMANDS // PODS)))
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


def _core(kubeconfig: Path) -> ApiClient:
    made = client.Configuration()
    config.load_kube_config(str(kubeconfig), client_configuration=made)
    return made


def _exec(configuration: client.Configuration, pod: str, *argv: str) -> None:
    made = ApiClient(configuration)
    try:
        stream(
            CoreV1Api(made).connect_get_namespaced_pod_exec,
            pod,
            NAMESPACE,
            command=list(argv),
            stdin=False,
            stdout=True,
            stderr=True,
        )
    finally:
        made.rest_client.pool_manager.clear()


def _each_ms(act) -> float:
    began = time.perf_counter()
    for _ in range(TIMES):
        act()
    return (time.perf_counter() - began) * 1000 / TIMES
