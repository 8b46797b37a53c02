"""Commands whose pod, node, API server or connection fails: each comes to the end that is true,
with every byte once, and starts at most once."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from integration.pods.running import Running
from live_stack import wait_for
from rdev.domain.commands import Status
from small_cluster import PODS

COUNTED = "echo x >>count; echo begun; until [ -e go ]; do sleep 0.02; done; echo over"


# --- what kills its processes --------------------------------------------------------------------


def deleted(running: Running) -> None:
    running.there.remove(PODS, running.pod, grace_s=0.1)


def vanished(running: Running) -> None:
    running.there.vanish(running.pod)


def evicted(running: Running) -> None:
    running.there.evict(running.pod)
    time.sleep(0.1)  # for a moment it stands there and says so; then its controller removes it
    running.there.vanish(running.pod)


def out_of_memory(running: Running) -> None:
    running.there.kill(running.pod, "OOMKilled")


def restarted(running: Running) -> None:
    running.there.kill(running.pod, "Error")


def node_lost_for_good(running: Running) -> None:
    running.there.lose_node()
    time.sleep(0.3)
    node_is_back(running)
    running.there.vanish(running.pod)


def node_is_back(running: Running) -> None:
    there = running.there
    there.down = there.exec_frozen = False
    there.cut_execs()


def scaled_down_and_up(running: Running) -> None:
    running.workspaces.stop(running.project, lambda: None)
    wait_for(lambda: (PODS, running.pod) not in running.there.objects)
    running.workspaces.start(running.project, lambda: None)


def restarted_an_hour_later(running: Running) -> None:
    running.there.clock_skew = timedelta(hours=1)
    running.there.kill(running.pod, "Error")


def restarted_an_hour_earlier(running: Running) -> None:
    running.there.clock_skew = timedelta(hours=-1)
    running.there.kill(running.pod, "Error")


DEADLY: dict[Callable[[Running], None], str] = {
    deleted: "Its pod was deleted.",
    vanished: "Its pod was deleted.",
    evicted: "Its node ran short of memory, disk or process ids",
    out_of_memory: "It wanted more memory than the template allows, and was killed.",
    restarted: "Its container ended",
    node_lost_for_good: "Its node does not answer",
    scaled_down_and_up: "Its pod was deleted.",
    restarted_an_hour_later: "Its container ended",
    restarted_an_hour_earlier: "Its container ended",
}


@pytest.fixture(autouse=True)
def _whole_again(running: Running):
    yield
    there = running.there
    there.away, there.busy_s, there.clock_skew = False, 0, timedelta()
    there.faults.clear()
    node_is_back(running)


@pytest.mark.parametrize("befalls", DEADLY, ids=lambda each: each.__name__)
def test_what_loses_its_pod_while_it_runs_is_lost_for_the_pods_reason(running, befalls):
    running.create()
    with running.runner():
        command = running.submit(COUNTED)
        running.await_running_command(command, b"begun\n")
        befalls(running)
        ended = running.ended(command)
        assert (ended.status, ended.reason) == (Status.LOST, "killed_outside")
        assert DEADLY[befalls] in (ended.reason_message or "")
        assert running.streamed(ended) == b"begun\n"
        assert running.ended(running.submit("cat count")).status is Status.SUCCEEDED
    assert running.reads("count") == "x\n"
