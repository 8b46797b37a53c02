"""The stand-in speaks to the Kubernetes client as a cluster does."""

import pytest
from kubernetes import client
from kubernetes.client import ApiException
from websocket import WebSocketConnectionClosedException

from kubernetes_stand_in.exec_socket import Fault
from live_stack import wait_for
from small_cluster import NAMESPACE, PODS

SHELLS = ("debian", "alpine", "distroless-sh")


@pytest.mark.parametrize("image", SHELLS)
def test_a_program_runs_in_a_pod_as_its_user(there, image):
    out, err, status = there.run(f"{image}-0", "sh", "-c", "echo out; echo err >&2; echo x >/f")
    assert (out, status["status"]) == (b"out\n", "Failure"), err
    assert b"err\n" in err
    assert b"ead-only" in err
    out, _, status = there.run(f"{image}-0", "sh", "-c", "cat /proc/self/status; echo >/data/f")
    assert b"Uid:\t1000\t1000" in out
    assert status["status"] == "Success"


def test_an_image_has_the_programs_that_it_says_and_no_more(there):
    _, err, status = there.run("distroless-sh-0", "sh", "-c", "awk 'BEGIN { exit 0 }'")
    assert status["status"] == "Failure"
    assert b"awk: not found" in err


@pytest.mark.parametrize("image", SHELLS)
def test_an_exec_begins_in_the_containers_own_folder(there, image):
    out, err, _ = there.run(f"{image}-0", "sh", "-c", "pwd -P; cd ..; pwd -P")
    assert (out, err) == (b"/\n/\n", b"")


@pytest.mark.parametrize("image", SHELLS)
def test_it_sees_no_process_but_the_pods(there, image):
    out, _, _ = there.run(f"{image}-0", "sh", "-c", "cd /proc; echo [0-9]*")
    assert out.split()[0] == b"1"
    assert len(out.split()) < 10


def test_the_status_tells_the_exit_code(there):
    _, _, status = there.run("debian-0", "sh", "-c", "exit 7")
    assert status["reason"] == "NonZeroExitCode"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]
    _, _, status = there.run("debian-0", "sh", "-c", "kill -9 $$")
    assert status["details"]["causes"][0]["message"] == "137"


def test_a_program_that_is_not_there_is_an_internal_error(there):
    _, _, status = there.run("debian-0", "no-such-program")
    assert status["reason"] == "InternalError"
    assert "no-such-program" in status["message"]


def test_stdin_is_half_closed_by_v5(there):
    opened = there.exec("debian-0", "sh", "-c", "cat; echo end", stdin=True)
    assert opened.subprotocol == "v5.channel.k8s.io"
    opened.write_channel(0, b"\x00\xff" * 50_000)
    opened.close_channel(0)
    opened.run_forever(timeout=30)
    assert opened.read_channel(1) == b"\x00\xff" * 50_000 + b"end\n"


def test_an_exec_is_cut_at_a_byte_and_its_process_lives(there):
    there.cluster.faults.append(Fault(sent=100))
    line = "while [ ! -e /data/go ]; do echo 0123456789; sleep 0.1; done; echo lived >/data/end"
    opened = there.exec("debian-0", "sh", "-c", line)
    with pytest.raises(WebSocketConnectionClosedException):
        opened.run_forever(timeout=30)
    assert not opened.read_channel(3)
    there.run("debian-0", "sh", "-c", "echo >/data/go")
    wait_for(lambda: there.sh("debian-0", "cat /data/end") == b"lived\n")


def test_a_killed_container_is_begun_again_in_place(there):
    before = there.await_running("alpine-0")
    opened = there.exec("alpine-0", "sh", "-c", "echo >/data/kept; sleep 1000")
    wait_for(lambda: there.sh("alpine-0", "cat /data/kept") == b"\n")
    there.cluster.kill("alpine-0")
    opened.run_forever(timeout=30)
    after = there.await_running("alpine-0")
    assert after.metadata.uid == before.metadata.uid
    status = after.status.container_statuses[0]
    assert status.restart_count == 1
    assert status.last_state.terminated.reason == "OOMKilled"
    assert there.sh("alpine-0", "cat /data/kept") == b"\n"


def test_an_evicted_pod_says_why_and_its_processes_are_gone(there):
    body = {
        "metadata": {"name": "pushed"},
        "spec": {"containers": [{"name": "app", "image": "alpine"}]},
    }
    there.core.create_namespaced_pod(NAMESPACE, body)
    opened = there.exec("pushed", "sh", "-c", "echo begun; sleep 1000")
    wait_for(lambda: opened.peek_channel(1, timeout=1))
    there.cluster.evict("pushed")
    opened.run_forever(timeout=30)
    assert not opened.is_open()
    status = there.core.read_namespaced_pod("pushed", NAMESPACE).status
    assert (status.phase, status.reason) == ("Failed", "Evicted")


def test_a_deleted_pod_says_so_first_and_keeps_its_volume(there):
    api = there.core
    there.run("distroless-sh-0", "sh", "-c", "echo mine >/data/file")
    before = there.await_running("distroless-sh-0")
    wrong = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="another"))
    with pytest.raises(ApiException, match="409"):
        api.delete_namespaced_pod("distroless-sh-0", NAMESPACE, body=wrong)
    opened = there.exec("distroless-sh-0", "sh", "-c", "sleep 1000")
    api.delete_namespaced_pod("distroless-sh-0", NAMESPACE)
    opened.run_forever(timeout=30)
    wait_for(lambda: there.await_running("distroless-sh-0").metadata.uid != before.metadata.uid)
    assert there.sh("distroless-sh-0", "cat /data/file") == b"mine\n"
    seen = [
        raw["metadata"].get("deletionTimestamp")
        for _, event, kind, raw in there.cluster.log
        if kind == PODS and raw["metadata"]["uid"] == before.metadata.uid
    ]
    assert seen[-1], "told before it went"


def test_a_pod_without_a_shell_or_an_image_says_so(there):
    api = there.core
    for name, image in (("mute", "no-shell"), ("lost", "nobody/has-this")):
        body = {
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"containers": [{"name": "app", "image": image}]},
        }
        api.create_namespaced_pod(NAMESPACE, body)
    assert there.run("mute", "sh", "-c", "true")[2]["reason"] == "InternalError"
    listed = api.list_namespaced_pod(NAMESPACE, label_selector="app=lost").items
    assert [each.metadata.name for each in listed] == ["lost"]
    (told,) = wait_for(
        lambda: there.cluster.objects[PODS, "lost"]["status"].get("containerStatuses")
    )
    assert told["state"]["waiting"]["reason"] == "ImagePullBackOff"
