"""What befalls the stand-in's pods, its node and its connections, as a client sees it."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
import websocket
from kubernetes.client import ApiException
from websocket import WebSocketConnectionClosedException

from kubernetes_stand_in.exec_socket import V4, V5, Fault
from live_stack import wait_for
from small_cluster import NAMESPACE, SETS

TICK = "echo begun; until [ -e /data/on ]; do echo tick; sleep 0.02; done; echo lived >/data/lived"


def heard(opened, seconds=0.3):
    """What comes within a while, whatever its channel."""
    opened.update(timeout=seconds)
    return opened.read_channel(1, timeout=0)


def test_a_lost_node_says_nothing_more_and_hangs_up_on_nobody(alone):
    opened = alone.exec("debian-0", "sh", "-c", "echo begun; while sleep 0.02; do echo tick; done")
    wait_for(lambda: opened.peek_channel(1, timeout=1))
    container = alone.cluster.lives["debian-0"].container
    alone.cluster.lose_node()
    status = alone.core.read_namespaced_pod("debian-0", NAMESPACE).status
    ready = [each.status for each in status.conditions if each.type == "Ready"]
    assert (status.phase, ready) == ("Running", ["False"])
    wait_for(lambda: not heard(opened), 10)  # what was under way
    assert not heard(opened, 0.5)
    assert opened.is_open()
    assert container.exit_code is None, "nobody knows what goes on there"
    container.kill()
    assert alone.cluster.lives["debian-0"].restarts == 0


def test_a_new_exec_on_a_lost_node_hangs(alone):
    alone.await_running("debian-0")
    alone.cluster.lose_node()
    with socket_to(alone, V5, "echo hi") as ws:
        ws.settimeout(0.5)
        assert ws.recv() == b"\x01", "the connection stands"
        with pytest.raises(websocket.WebSocketTimeoutException):
            ws.recv()


def test_a_frozen_connection_moves_nothing_and_is_not_closed(there):
    there.await_running("debian-0")
    there.cluster.faults.append(Fault(sent=200, frozen=True))
    line = "while sleep 0.01; do echo 0123456789; done"
    with socket_to(there, V5, "sh", "-c", line) as ws:
        ws.settimeout(1)
        with pytest.raises(websocket.WebSocketTimeoutException):
            list(iter(ws.recv, "never"))
        assert ws.connected
        there.cluster.cut_execs()
        with pytest.raises((WebSocketConnectionClosedException, OSError)):
            ws.recv()


def test_what_is_sent_into_a_connection_that_froze_is_read_by_nobody(there):
    opened = there.exec("debian-0", "sh", "-c", "cat >/data/fed", stdin=True)
    opened.write_channel(0, b"before")
    wait_for(lambda: there.sh("debian-0", "cat /data/fed") == b"before")
    there.cluster.freeze_execs()
    opened.write_channel(0, b"after")
    there.cluster.faults.clear()
    assert there.sh("debian-0", "sleep 0.3; cat /data/fed") == b"before"
    there.cluster.cut_execs()
    wait_for(lambda: _closed(opened))


@pytest.mark.parametrize("received", [1, 20, 20_000])
def test_an_exec_is_cut_at_a_byte_of_what_it_takes(there, received):
    data = bytes(range(250)) * 400
    there.cluster.faults.append(Fault(received=received))
    name = f"/data/cut-{received}"
    opened = there.exec("debian-0", "sh", "-c", f"cat >{name}; echo over >{name}-over", stdin=True)
    try:
        opened.write_channel(0, data)
        opened.run_forever(timeout=30)
    except (WebSocketConnectionClosedException, OSError):
        pass
    wait_for(lambda: there.sh("debian-0", f"cat {name}-over") == b"over\n")
    got = there.sh("debian-0", f"cat {name}")
    assert data.startswith(got)
    assert len(got) < received


def test_a_kubelet_that_restarts_cuts_what_is_open_and_kills_nothing(there):
    there.sh("debian-0", "rm -f /data/on /data/lived")
    opened = there.exec("debian-0", "sh", "-c", TICK)
    wait_for(lambda: opened.peek_channel(1, timeout=1))
    before = there.await_running("debian-0").status.container_statuses[0]
    there.cluster.cut_execs()
    wait_for(lambda: _closed(opened))
    there.sh("debian-0", "echo >/data/on")
    wait_for(lambda: there.sh("debian-0", "cat /data/lived") == b"lived\n")
    after = there.await_running("debian-0").status.container_statuses[0]
    assert (after.container_id, after.restart_count) == (before.container_id, before.restart_count)


def test_a_clock_that_is_ahead_shows_in_all_it_writes(alone):
    alone.cluster.clock_skew = timedelta(hours=1)
    body = {
        "metadata": {"name": "early"},
        "spec": {"containers": [{"name": "app", "image": "debian"}]},
    }
    alone.core.create_namespaced_pod(NAMESPACE, body)
    alone.cluster.put(SETS, {"metadata": {"name": "set", "generation": 1}, "spec": {"replicas": 0}})
    pod = alone.await_running("early")
    limit = datetime.now(UTC) + timedelta(minutes=59)
    assert pod.metadata.creation_timestamp > limit
    assert pod.status.container_statuses[0].state.running.started_at > limit
    made = alone.cluster.get(SETS, "set")["metadata"]["creationTimestamp"]
    assert datetime.fromisoformat(made) > limit


def test_an_older_server_speaks_v4_and_cannot_end_a_stdin(there):
    with socket_to(there, V4, "cat", stdin=True) as ws:
        assert ws.subprotocol == V4
        assert ws.recv() == b"\x01"
        ws.send_binary(b"\x00one\n")
        assert ws.recv() == b"\x01one\n"
        ws.send_binary(b"\xff\x00")  # v5 would end it
        ws.send_binary(b"\x00two\n")
        assert ws.recv() == b"\x01two\n"


def test_v4_tells_the_exit_code_too(there):
    with socket_to(there, V4, "sh", "-c", "exit 5") as ws:
        frames = iter(ws.recv, b"")
        status = next(frame for frame in frames if frame[:1] == b"\x03")
    assert json.loads(status[1:])["details"]["causes"][0]["message"] == "5"


def test_a_client_that_speaks_neither_is_refused(there):
    with (
        pytest.raises(websocket.WebSocketBadStatusException, match="403"),
        socket_to(there, "v1.channel.k8s.io", "true"),
    ):
        pass


def test_an_api_that_is_away_or_busy_begins_no_exec(there):
    there.await_running("debian-0")
    there.cluster.busy_s = 1
    try:
        with (
            pytest.raises(websocket.WebSocketBadStatusException, match="429"),
            socket_to(there, V5, "true"),
        ):
            pass
        with pytest.raises(ApiException, match="429"):
            there.core.read_namespaced_pod("debian-0", NAMESPACE)
        there.cluster.busy_s = 0
        there.cluster.away = True
        with pytest.raises((websocket.WebSocketException, OSError)), socket_to(there, V5, "true"):
            pass
    finally:
        there.cluster.busy_s, there.cluster.away = 0, False
    assert there.sh("debian-0", "echo back") == b"back\n"


STARTED = """
import sys, time
from pathlib import Path
from urllib.parse import quote
from kubernetes_stand_in.stand_in import kubernetes_stand_in
with kubernetes_stand_in(Path(sys.argv[1])) as (cluster, _):
    spec = {"containers": [{"name": "app", "image": "debian"}]}
    cluster.put("pods", {"metadata": {"name": "pod"}, "spec": spec})
    while not (cluster.lives.get("pod") and cluster.lives["pod"].container):
        time.sleep(0.01)
    container = cluster.lives["pod"].container
    child = container.run(["sh", "-c", "setsid sleep 1000 & echo $!; wait"], stdin=False)
    child.stdout.readline()
    print(container.pid, child.pid, flush=True)
    time.sleep(1000)
"""


def test_nothing_of_a_stand_in_outlives_a_killed_process(tmp_path):
    tests = Path(__file__).parents[2]
    argv = [sys.executable, "-c", STARTED, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(tests)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        try:
            pids = [int(each) for each in process.stdout.readline().split()]
            assert pids
            space = Path(f"/proc/{pids[0]}/ns/pid").readlink()
            assert len(_in_namespace(space)) >= 3, "process 1, a shell and a sleep"
        finally:
            process.send_signal(signal.SIGKILL)
    try:
        wait_for(lambda: not _in_namespace(space))
    finally:
        for each in _in_namespace(space):
            os.kill(int(each.parts[2]), signal.SIGKILL)


def _in_namespace(space):
    found = []
    for each in Path("/proc").glob("[0-9]*/ns/pid"):
        try:
            if each.readlink() == space:
                found.append(each)
        except OSError:
            continue
    return found


def socket_to(there, protocol, *argv, stdin=False):
    """A bare websocket, for what the client cannot be made to ask."""
    server = json.loads(there.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    asked = "&".join(f"command={quote(each)}" for each in argv)
    url = f"{server.replace('http', 'ws', 1)}/api/v1/namespaces/{NAMESPACE}/pods/debian-0/exec"
    if not (there.cluster.away or there.cluster.busy_s or there.cluster.down):
        there.await_running("debian-0")
    ws = websocket.create_connection(
        f"{url}?{asked}&stdout=true&stderr=true&stdin={str(stdin).lower()}",
        subprotocols=[protocol],
        header=["Authorization: Bearer secret"],
        timeout=30,
    )
    return _Closing(ws)


class _Closing:
    def __init__(self, ws):
        self.ws = ws

    def __enter__(self):
        return self.ws

    def __exit__(self, *_):
        self.ws.shutdown()


def _closed(opened):
    try:
        opened.update(timeout=0.2)
    except (WebSocketConnectionClosedException, OSError):
        return True
    return not opened.is_open()
