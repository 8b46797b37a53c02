"""Processes in the stand-in's pods, over the driver: what they say, how they end, and what is said
when nobody knows how they ended."""

import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubernetes_stand_in.exec_socket import V4, V5, Fault
from live_stack import wait_for
from rdev.adapters.workspaces.kubernetes.access import Access
from rdev.adapters.workspaces.kubernetes.api import Api, ApiRefused
from rdev.adapters.workspaces.kubernetes.exec import STDERR, STDOUT, Exec, Execs
from rdev.adapters.workspaces.kubernetes.exec_status import ExecEnded, ExecStatus
from rdev.adapters.workspaces.kubernetes.pod_ref import PodRef
from rdev.errors import WorkspaceUnavailable
from small_cluster import NAMESPACE, PODS

LONG_S = 30
MB = 1 << 20
NOISE = bytes(range(256)) * 32


@dataclass
class Pod:
    """A pod of the stand-in, as the driver reaches it."""

    there: object
    execs: Execs
    api: Api
    name: str = "debian-0"

    def open(self, *argv: str, container: str = "workspace") -> Exec:
        return self.execs.open(PodRef(NAMESPACE, self.name, "", container, ""), argv)

    def sh(self, line: str) -> Exec:
        return self.open("sh", "-c", line)


@pytest.fixture
def driver(there) -> Iterator[Callable[..., Pod]]:
    """Makes a driver of its own; all of them go to one pod."""
    made = []

    def make(there=there, **timing: float) -> Pod:
        there.await_running("debian-0")
        client = Access(there.kubeconfig).client
        made.append(Pod(there, Execs(client, api := Api(client), **timing), api))
        return made[-1]

    yield make
    for each in made:
        each.execs.close()
        each.api.close()


@pytest.fixture
def pod(driver) -> Pod:
    return driver()


@pytest.fixture(params=[V5, V4])
def protocol(there, request) -> Iterator[str]:
    there.cluster.speaks = (request.param,)
    yield request.param
    there.cluster.speaks = (V5, V4)


def outcome(running: Exec) -> tuple[bytes, bytes, ExecStatus | None]:
    """All that comes, and how it ended; None where nobody knows."""
    streams = {STDOUT: bytearray(), STDERR: bytearray()}
    status: ExecStatus | None = None
    with running:
        try:
            while came := running.receive(LONG_S):
                streams[came[0]] += came[1]
            pytest.fail("nothing more came, and no end")
        except ExecEnded as exc:
            status = exc.status
        except WorkspaceUnavailable:
            pass
    return bytes(streams[STDOUT]), bytes(streams[STDERR]), status


def counted(running: Exec) -> int:
    """How much comes until it is over."""
    total = 0
    with suppress(ExecEnded):
        while came := running.receive(LONG_S):
            total += len(came[1])
    return total


@pytest.mark.usefixtures("protocol")
@pytest.mark.parametrize("code", [0, 1, 42, 137, 255])
def test_an_exit_code_is_told(pod, code):
    _, _, status = outcome(pod.sh(f"exit {code}"))
    assert status is not None
    assert status.exit_code == code


@pytest.mark.usefixtures("protocol")
def test_the_two_streams_are_kept_apart(pod):
    out, err, status = outcome(pod.sh("for i in 1 2 3; do echo out $i; echo err $i >&2; done"))
    assert out == b"out 1\nout 2\nout 3\n"
    assert err == b"err 1\nerr 2\nerr 3\n"
    assert status == ExecStatus(0)


@pytest.mark.usefixtures("protocol")
@pytest.mark.parametrize("to", [STDOUT, STDERR])
def test_every_byte_comes_back_as_it_went(pod, to):
    running = pod.sh(f"head -c {len(NOISE)} >&{to}")
    running.send(NOISE)
    out, err, status = outcome(running)
    assert (out, err) == ((NOISE, b"") if to == STDOUT else (b"", NOISE))
    assert status == ExecStatus(0)


def test_the_end_of_stdin_is_told_where_the_protocol_can(pod, protocol):
    running = pod.open("cat")
    running.send(NOISE)
    assert running.half_close is (protocol == V5)
    assert running.close_stdin() is running.half_close
    if protocol == V5:
        assert outcome(running) == (NOISE, b"", ExecStatus(0))
    else:
        running.send(b"still open")
        with running:
            got = b""
            while not got.endswith(b"still open"):
                got += running.receive(LONG_S)[1]


@pytest.mark.usefixtures("protocol")
def test_64_mb_pass_in_the_memory_of_a_few_frames(pod):
    tracemalloc.start()
    try:
        with pod.open("head", "-c", str(64 * MB), "/dev/zero") as running:
            total = len(running.receive(LONG_S)[1])
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            total += counted(running)
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 64 * MB
    assert peak - before < 2 * MB


def test_what_is_sent_passes_in_the_memory_of_a_few_frames(pod):
    piece = os.urandom(MB)
    with pod.sh("cat | wc -c") as running:
        running.send(piece)
        tracemalloc.start()
        try:
            for _ in range(31):
                running.send(piece, LONG_S)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        running.close_stdin()
        assert outcome(running)[0].strip() == str(32 * MB).encode()
    assert peak < 2 * MB


def test_a_reader_that_does_not_read_makes_the_process_wait(pod, there):
    before = set(there.cluster.wires)
    with pod.open("head", "-c", str(64 * MB), "/dev/zero") as running:
        (wire,) = there.cluster.wires - before
        wait_for(lambda: wire.sent and _stands_still(lambda: wire.sent))
        assert wire.sent < 32 * MB, "it could not be rid of all"
        assert counted(running) == 64 * MB


def test_a_process_that_does_not_read_makes_the_sender_wait_so_long_and_no_longer(pod):
    with pod.open("sleep", "1000") as running:
        with pytest.raises(WorkspaceUnavailable, match="did not take what was sent"):
            running.send(bytes(64 * MB), 0.5)
        with pytest.raises(WorkspaceUnavailable, match="not known"):
            running.receive(LONG_S)


def test_nothing_is_none_until_something_comes(pod):
    with pod.open("cat") as running:
        assert running.receive(0) is None
        assert running.receive(0.05) is None
        running.send(b"now")
        assert running.receive(LONG_S) == (STDOUT, b"now")


def test_after_the_end_it_is_the_end_again(pod):
    with pod.sh("exit 3") as running:
        for _ in range(2):
            with pytest.raises(ExecEnded) as ended:
                running.receive(LONG_S)
            assert ended.value.status.exit_code == 3


# --- what cannot be begun ------------------------------------------------------------------------


@pytest.mark.usefixtures("protocol")
def test_a_program_that_is_not_there_has_no_exit_code_but_words(pod):
    _, _, status = outcome(pod.open("no-such-program"))
    assert status is not None
    assert status.exit_code is None
    assert "no-such-program" in status.message


@pytest.mark.usefixtures("protocol")
def test_a_container_that_is_not_there_is_refused_in_the_servers_words(pod):
    with pytest.raises(ApiRefused, match="container nope is not valid for pod debian-0") as refused:
        pod.open("true", container="nope")
    assert refused.value.status == 400


@pytest.mark.usefixtures("protocol")
def test_a_pod_that_is_not_there_is_refused(pod):
    pod.name = "nobody-0"
    with pytest.raises(ApiRefused, match='404 NotFound: pods "nobody-0" not found'):
        pod.open("true")


@pytest.mark.parametrize("speaks", [V5, V4])
def test_a_container_that_does_not_run_says_so_and_the_api_is_not_to_blame(driver, alone, speaks):
    pod = driver(alone)
    alone.cluster.speaks = (speaks,)
    with alone.cluster.changed:
        life = alone.cluster.lives["debian-0"]
        container, life.container = life.container, None
    try:
        for _ in range(10):  # more than the circuit breaker bears
            if speaks == V5:
                _, _, status = outcome(pod.open("true"))
                assert status is not None
                assert status.exit_code is None
                assert "container not found" in status.message
            else:
                with pytest.raises(ApiRefused, match="container not found"):
                    pod.open("true")
        assert pod.api.get("/version")
    finally:
        life.container = container


def test_a_server_that_speaks_neither_protocol_is_none_of_ours(pod, there):
    there.cluster.speaks = ("v1.channel.k8s.io",)
    try:
        with pytest.raises(ApiRefused, match="403"):
            pod.open("true")
    finally:
        there.cluster.speaks = (V5, V4)


def test_a_server_that_asks_for_patience_gets_it(pod, there):
    there.cluster.busy_s = 7
    try:
        with pytest.raises(WorkspaceUnavailable, match="patience") as asked:
            pod.open("true")
        assert asked.value.retry_after_s == 7
        before = len(there.cluster.requests)
        with pytest.raises(WorkspaceUnavailable, match="patience"):
            pod.api.get("/version")
        assert len(there.cluster.requests) == before
    finally:
        there.cluster.busy_s = 0


def test_an_api_that_is_away_is_left_alone_after_some_failures(there, driver):
    pod = driver()
    pod.api = Api(Access(there.kubeconfig).client, breaker_failures=3, breaker_s=0.2)
    pod.execs = Execs(Access(there.kubeconfig).client, pod.api)
    there.cluster.away = True
    try:
        for _ in range(3):
            with pytest.raises(WorkspaceUnavailable, match="cannot be entered"):
                pod.open("true")
        with pytest.raises(WorkspaceUnavailable, match="left alone"):
            pod.open("true")
    finally:
        there.cluster.away = False

    def back() -> bool:
        try:
            return outcome(pod.open("true"))[2] == ExecStatus(0)
        except WorkspaceUnavailable:
            return False

    wait_for(back)
    pod.api.close()
    pod.execs.close()


def test_no_error_tells_the_token(pod, there):
    there.cluster.away = True
    try:
        with pytest.raises(WorkspaceUnavailable) as refused:
            pod.open("true")
    finally:
        there.cluster.away = False
    whole = refused.value
    while whole is not None:
        assert "secret" not in f"{whole!r} {whole}"
        whole = whole.__cause__ or whole.__context__


# --- what befalls it -----------------------------------------------------------------------------

SAYS = b"0123456789" * 20
LINE = f"for i in 1 2 3 4 5; do printf %s {SAYS.decode()}; echo >&2; done; exit 3"


@pytest.fixture(scope="module")
def cut(cluster) -> Iterator[Callable[[Fault], Exec]]:
    there, kubeconfig = cluster
    wait_for(lambda: (life := there.lives.get("debian-0")) and life.container)
    execs = Execs(Access(kubeconfig).client, None)

    def opened(fault: Fault) -> Exec:
        there.faults.append(fault)
        return execs.open(PodRef(NAMESPACE, "debian-0", "", "workspace", ""), ["sh", "-c", LINE])

    yield opened
    execs.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(at=st.integers(0, 1400))
def test_cut_at_any_byte_it_is_the_truth_or_not_known(cut, at):
    out, _, status = outcome(cut(Fault(sent=at)))
    assert (SAYS * 5).startswith(out)
    if status is not None:
        assert (status.exit_code, out) == (3, SAYS * 5)


def test_a_connection_that_was_cut_is_never_a_success(pod, there):
    with pod.sh("echo begun; exec sleep 1000") as running:
        assert running.receive(LONG_S) == (STDOUT, b"begun\n")
        there.cluster.cut_execs()
        with pytest.raises(WorkspaceUnavailable, match="not known; it may still run"):
            running.receive(LONG_S)


def test_a_server_that_froze_is_noticed_while_waiting_for_it(driver, there):
    with driver(ping_s=0.1, silence_s=0.6).open("cat") as running:
        running.send(b"x")
        assert running.receive(LONG_S) == (STDOUT, b"x")
        there.cluster.freeze_execs()
        with pytest.raises(WorkspaceUnavailable, match="nothing was heard"):
            running.receive(LONG_S)


def test_a_server_that_froze_is_noticed_when_nobody_reads(driver, there):
    with driver(ping_s=0.1, silence_s=0.6).open("cat") as running:
        there.cluster.freeze_execs()

        def refused() -> bool:
            try:
                running.send(b"x")
            except WorkspaceUnavailable as exc:
                return "nothing was heard" in str(exc)
            return False

        wait_for(refused)


def test_a_connection_on_which_nothing_happens_lives(driver, there):
    before = set(there.cluster.wires)
    with driver(ping_s=0.1, silence_s=0.6).open("cat") as running:
        (wire,) = there.cluster.wires - before
        wait_for(lambda: wire.received > 6 * 10)  # pings, with nobody reading
        wait_for(lambda: running.receive(0.3) is None and wire.received > 6 * 20)
        running.send(b"x")
        assert running.receive(LONG_S) == (STDOUT, b"x")


def test_a_reader_that_is_slow_is_no_dead_server(driver, there):
    pod = driver(ping_s=0.05, silence_s=0.3)
    before = set(there.cluster.wires)
    with pod.open("head", "-c", str(16 * MB), "/dev/zero") as running:
        (wire,) = there.cluster.wires - before
        wait_for(lambda: wire.sent and _stands_still(lambda: wire.sent, seconds=1))
        assert counted(running) == 16 * MB


def test_a_pod_that_is_deleted_meanwhile_is_no_success(driver, alone):
    with driver(alone).sh("echo begun; exec sleep 1000") as running:
        assert running.receive(LONG_S) == (STDOUT, b"begun\n")
        alone.cluster.remove(PODS, "debian-0", grace_s=0)
        out, _, status = outcome(running)
    assert out == b""
    assert status is None or status.exit_code == 137


@pytest.mark.parametrize("doing", ["receive", "send"])
def test_closing_wakes_whoever_waits(pod, doing):
    running = pod.open("sleep", "1000")
    waits = threading.Event()

    def wait() -> None:
        waits.set()
        if doing == "receive":
            running.receive(3600)
        else:
            running.send(bytes(64 * MB), 3600)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        waits.wait(LONG_S)
        running.close()
        with pytest.raises(WorkspaceUnavailable, match="closed here"):
            waiting.result(LONG_S)


def test_what_is_closed_ends_the_processs_stdin_and_not_the_process(pod, there):
    name = "/data/read-on"
    with pod.sh(f"cat >/dev/null; echo over >{name}"):
        pass
    wait_for(lambda: there.sh("debian-0", f"cat {name}") == b"over\n")


# --- many of them --------------------------------------------------------------------------------


def test_100_at_once_are_not_mixed_up_and_cost_one_thread(pod):
    before = _pulses()

    def talk(running: Exec) -> tuple[bytes, bytes, ExecStatus | None]:
        running.send(b"heard\n")
        return outcome(running)

    with ExitStack() as stack, ThreadPoolExecutor(20) as pool:
        line = 'read line; echo "$0 $line"'
        opened = [
            stack.enter_context(pod.open("sh", "-c", line, str(number))) for number in range(100)
        ]
        assert len(_pulses() - before) == 1
        outcomes = list(pool.map(talk, opened))
    assert outcomes == [(b"%d heard\n" % number, b"", ExecStatus(0)) for number in range(100)]


def test_nothing_stays_open(driver):
    pulses = _pulses()
    pod = driver(ping_s=0.04)
    assert outcome(pod.sh("true"))[2] == ExecStatus(0)
    files = _open_files()
    for _ in range(20):
        outcome(pod.sh("true"))
        pod.open("cat").close()
    wait_for(lambda: _open_files() <= files)
    wait_for(lambda: not _pulses() - pulses)


def _pulses() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "exec-pulse"}


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _stands_still(value: Callable[[], int], seconds: float = 0.5) -> bool:
    before = value()
    threading.Event().wait(seconds)
    return value() == before
