"""Commands whose pod, node, API server or connection fails: each comes to the end that is true,
with every byte once, and starts at most once."""

import random
import shutil
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from integration.pods.running import CANNOT_START, Running
from kubernetes_stand_in.exec_socket import Fault
from live_stack import wait_for
from rdev.adapters.workspaces.kubernetes.pod_workspace import PodWorkspace
from rdev.domain.commands import Status
from rdev.services.pauses import MOST_FAILURES
from small_cluster import PODS

COUNTED = "echo x >>count; echo begun; until [ -e go ]; do sleep 0.02; done; echo over"
TALKATIVE = (
    "echo x >>count; echo begun; i=0; "
    "until [ -e go ]; do i=$((i + 1)); echo line $i; done; echo over"
)


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
    # Once its Node is deleted, what is left of its pods is too.
    gone = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}
    running.there.status(running.pod, phase="Failed", conditions=[gone])
    node_is_back(running)
    running.there.vanish(running.pod)


def node_is_back(running: Running) -> None:
    there = running.there
    there.down = there.exec_frozen = False
    there.cut_execs()


def node_lost_for_now(running: Running) -> dict[str, Any]:
    status = dict(running.there.objects[PODS, running.pod]["status"])
    running.there.lose_node()
    return status


def node_is_found(running: Running, status: dict[str, Any]) -> None:
    """With all that ran on it; `status` is what its pod said before."""
    running.there.status(running.pod, **status)
    node_is_back(running)
    running.await_running()


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
    evicted: "Its node evicted it: The node was low on resource",
    out_of_memory: "It wanted more memory than the template allows, and was killed.",
    restarted: "Its container ended",
    node_lost_for_good: "Its node is gone",
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


def test_what_comes_while_its_node_does_not_answer_waits_in_the_queue_for_it(running):
    running.create()
    with running.runner(workspace_s=600, away_share=0):
        before = node_lost_for_now(running)
        command = running.submit("echo x >>count")
        wait_for(lambda: running.get(command).waiting_for)
        # Oftener than what fails in other ways is tried.
        wait_for(lambda: running.get(command).epoch > MOST_FAILURES + 1)
        assert not running.get(command).status.final
        node_is_found(running, before)
        assert running.ended(command).status is Status.SUCCEEDED
    assert running.reads("count") == "x\n"


def test_what_waits_for_a_node_that_does_not_answer_leaves_most_of_the_slots_to_others(running):
    running.create()
    with running.runner(workspace_s=600) as runner:
        before = node_lost_for_now(running)
        commands = [running.submit("echo x >>count") for _ in range(8)]
        wait_for(lambda: all(running.get(each).waiting_for for each in commands))
        looks, busy = running.get(commands[0]).epoch, []
        while running.get(commands[0]).epoch < looks + 2:
            busy.append(runner._slots.busy)
            time.sleep(0.05)
        assert sum(busy) / len(busy) < 8 / 2
        node_is_found(running, before)
        for each in commands:
            assert running.ended(each).status is Status.SUCCEEDED
    assert running.reads("count") == "x\n" * 8


def test_what_waits_for_a_node_is_looked_at_again_in_time_although_no_sweep_comes(running):
    running.create()
    with running.runner(workspace_s=600, sweep_s=3600):
        before = node_lost_for_now(running)
        command = running.submit("echo x >>count")
        wait_for(lambda: running.get(command).waiting_for)
        node_is_found(running, before)
        assert running.ended(command).status is Status.SUCCEEDED


def test_what_waits_for_a_node_that_does_not_answer_is_left_alone_for_half_a_minute_at_most(
    running,
):
    running.create()
    with running.runner(workspace_s=600, away_share=1e6):
        node_lost_for_now(running)
        command = running.submit("echo x >>count")
        wait_for(lambda: running.get(command).waiting_for)
        with running.serving.database.transaction() as tx:
            row = tx.queue._sql.execute(
                "select claim_after - clock_timestamp() <= interval '30 s' as soon "
                "from projects where id = %s",
                (running.project,),
            ).fetchone()
    assert row["soon"]


def test_what_waits_for_a_node_that_does_not_answer_waits_no_longer_for_being_left_alone(running):
    running.create()
    with running.runner(workspace_s=6):
        node_lost_for_now(running)
        command = running.submit("echo x >>count")
        ended = running.ended(command)
    assert (ended.status, ended.reason) == (Status.FAILED, "workspace_not_ready")
    # A look lasts for two seconds, and is followed by six without one.
    assert ended.epoch < 4


def test_what_had_to_be_over_on_a_node_that_does_not_answer_is_given_up_and_ended_later(running):
    running.create()
    with running.runner(workspace_s=1, silent_s=1):
        command = running.submit(COUNTED, timeout_s=3)
        running.await_running_command(command, b"begun\n")
        before = node_lost_for_now(running)
        ended = running.ended(command)
        assert (ended.status, ended.reason) == (Status.LOST, "workspace_lost")
        assert ended.reason_message
        assert ended.started_at is not None
        node_is_found(running, before)
        wait_for(lambda: not running.root("/data").joinpath("commands", command.id).exists())
        assert running.workspaces.of(running.project).survivors(command.id) == 0
    assert running.reads("count") == "x\n"


def test_one_whose_node_does_not_answer_is_waited_for_while_it_has_time(running):
    running.create()
    with running.runner(workspace_s=1, silent_s=1):
        command = running.submit(COUNTED, timeout_s=300)
        running.await_running_command(command, b"begun\n")
        before = node_lost_for_now(running)
        time.sleep(5)  # nothing tells that it goes on being waited for
        node_is_found(running, before)
        running.writes("go")
        assert running.ended(command).status is Status.SUCCEEDED


def scaled_down(running: Running) -> None:
    running.workspaces.stop(running.project, lambda: None)


def cannot_start_again(running: Running) -> None:
    running.there.crash_loop(running.pod, CANNOT_START)


def taken_away(running: Running) -> None:
    running.workspaces.delete(running.project, lambda: None)


@pytest.mark.parametrize("befalls", [scaled_down, cannot_start_again, taken_away, vanished])
def test_an_end_that_is_known_stays_what_it_is_whatever_befalls_its_pod_then(
    running, befalls, monkeypatch
):
    """While its output is on the way to a disk that is slow."""
    flushed, asked = PodWorkspace.flushed, threading.Event()

    def slowly(self: PodWorkspace, command_id: str) -> bool | None:
        said = flushed(self, command_id)
        asked.set()
        return None if said is None else False

    monkeypatch.setattr(PodWorkspace, "flushed", slowly)
    running.create()
    with running.runner(down_s=1, flush_s=60):
        command = running.submit("echo out; exit 3")
        assert asked.wait(60)
        befalls(running)
        ended = running.ended(command)
    assert (ended.status, ended.exit_code) == (Status.FAILED, 3)
    assert running.streamed(ended) == b"out\n"


def test_what_was_written_until_its_pod_went_is_in_the_stream_once(running):
    running.create()
    with running.runner():
        command = running.submit(TALKATIVE)
        wait_for(lambda: len(running.streamed(command)) > 100_000)
        vanished(running)
        ended = running.ended(command)
    assert ended.status is Status.LOST
    streamed = running.streamed(ended)
    assert ended.output.stdout == len(streamed)
    whole, _, _ = streamed.rpartition(b"\n")
    first, *numbered = whole.splitlines()
    assert (first, numbered) == (b"begun", [b"line %d" % i for i in range(1, len(numbered) + 1)])


def test_a_project_that_is_made_again_under_its_name_has_nothing_of_the_one_before(running):
    running.create()
    with running.runner():
        assert running.ended(running.submit("echo x >mine")).status is Status.SUCCEEDED
        life = running.workspaces.of(running.project).life()
        running.workspaces.delete(running.project, lambda: None)
        wait_for(lambda: running.pod not in running.there.lives)
        running.create()
        ended = running.ended(running.submit("ls -A"))
        assert (ended.status, running.streamed(ended)) == (Status.SUCCEEDED, b"")
        assert running.workspaces.of(running.project).life() != life


# --- what does not -------------------------------------------------------------------------------


def api_away(running: Running) -> None:
    running.there.away = True
    running.there.cut_execs()
    time.sleep(0.7)
    running.there.away = False


def api_busy(running: Running) -> None:
    running.there.busy_s = 1
    running.there.cut_execs()
    running.there.hang_up()
    time.sleep(0.5)
    running.there.busy_s = 0


def watches_forgotten(running: Running) -> None:
    running.there.forget()
    running.there.cut_execs()


def kubelet_restarted(running: Running) -> None:
    running.there.cut_execs()


def connections_frozen(running: Running) -> None:
    running.there.freeze_execs()


def node_lost_for_a_while(running: Running) -> None:
    before = running.there.get(PODS, running.pod)
    running.there.lose_node()
    time.sleep(0.3)
    assert before is not None
    running.there.status(running.pod, **before["status"])
    node_is_back(running)


def clock_an_hour_ahead(running: Running) -> None:
    running.there.clock_skew = timedelta(hours=1)
    running.there.forget()
    running.there.cut_execs()


HARMLESS = (
    api_away,
    api_busy,
    watches_forgotten,
    kubelet_restarted,
    connections_frozen,
    node_lost_for_a_while,
    clock_an_hour_ahead,
)


@pytest.mark.parametrize("befalls", HARMLESS, ids=lambda each: each.__name__)
def test_what_goes_on_in_its_pod_is_attached_again_and_no_byte_is_lost(running, befalls):
    running.create()
    with running.runner():
        command = running.submit(TALKATIVE.replace("; done", "; sleep 0.002; done"))
        running.await_running_command(command, b"begun\n")
        befalls(running)
        far = len(running.streamed(command))
        wait_for(lambda: len(running.streamed(command)) > far)
        running.writes("go")
        ended = running.ended(command)
    assert (ended.status, ended.exit_code) == (Status.SUCCEEDED, 0)
    assert_whole(running.streamed(ended))
    assert ended.output.stdout == len(running.streamed(ended))
    assert running.reads("count") == "x\n"


def assert_whole(streamed: bytes) -> None:
    first, *numbered, last = streamed.splitlines()
    assert (first, last) == (b"begun", b"over")
    assert numbered == [b"line %d" % i for i in range(1, len(numbered) + 1)]


@pytest.mark.parametrize("seed", range(4))
def test_connections_cut_or_frozen_at_any_byte_cost_no_byte_and_no_second_start(running, seed):
    chance = random.Random(seed)
    running.create()
    running.there.faults[:] = [_fault(chance) for _ in range(12)]
    with running.runner():
        command = running.submit(
            "echo x >>count; i=0; while [ $i -lt 3000 ]; do i=$((i + 1)); echo line $i; done;"
            " cat count >&2; exit 7"
        )
        ended = running.ended(command)
    assert (ended.status, ended.exit_code) == (Status.FAILED, 7)
    assert running.streamed(ended) == b"".join(b"line %d\n" % i for i in range(1, 3001))
    assert running.serving.streamed(ended, "stderr") == b"x\n"


def _fault(chance: random.Random) -> Fault:
    """Most strike while the scripts go over, and some long after."""
    at = chance.randrange(chance.choice([200, 20_000, 60_000]))
    frozen = chance.random() < 0.15
    return (
        Fault(received=at, frozen=frozen)
        if chance.random() < 0.6
        else Fault(sent=at, frozen=frozen)
    )


# --- where its runner was when it struck ---------------------------------------------------------

POINTS = ("start.before", "start.after", "start.announced", "append.after", "finish.before")


@pytest.mark.parametrize("point", POINTS)
def test_a_runner_killed_anywhere_and_the_pod_with_it_leave_one_true_end(running, point):
    running.create()
    command = running.submit(
        "echo x >>count; cat count; until [ -e go ]; do sleep 0.02; done; exit 5"
    )
    if point == "finish.before":
        running.writes("go")
    running.dies_at(point)
    if point != "start.before":
        wait_for(lambda: running.reads("out", f"/data/commands/{command.id}"))
    life = running.there.lives.get(running.pod)
    running.there.vanish(running.pod)
    wait_for(lambda: running.there.lives.get(running.pod) is not life)
    running.await_running()
    running.writes("go")
    with running.runner():
        ended = running.ended(command)
    expected = {
        "start.before": (Status.FAILED, 5),
        "finish.before": (Status.FAILED, 5),
    }.get(point, (Status.LOST, None))
    assert (ended.status, ended.exit_code) == expected
    assert running.streamed(ended) == b"x\n"
    assert running.reads("count") == "x\n"
    if ended.status is Status.LOST:
        assert ended.reason_message


def test_what_may_have_begun_before_its_node_lost_its_power_is_not_started_again(running):
    running.create()
    command = running.submit("echo x >>count")
    running.dies_at("start.after")
    wait_for(lambda: running.reads("count"))
    commands = running.root("/data/commands")
    # As with what was on no disk yet; the count is what would tell of a second start.
    shutil.rmtree(commands / command.id)
    (commands / ".tokens" / command.id).unlink()
    running.there.start_node_anew(running.pod)
    running.await_running()
    with running.runner():
        ended = running.ended(command)
    assert (ended.status, ended.reason) == (Status.LOST, "workspace_lost")
    assert ended.reason_message
    assert running.reads("count") == "x\n"


def test_a_killed_runner_is_succeeded_by_another_that_knows_nothing(running):
    running.create()
    command = running.submit(TALKATIVE.replace("; done", "; sleep 0.002; done"))
    with running.runner_process() as process:
        running.await_running_command(command, b"begun\n")
        process.kill()
        process.wait()
    far = len(running.streamed(command))
    with running.runner(), running.runner(of_another=True):
        wait_for(lambda: len(running.streamed(command)) > far)
        running.writes("go")
        ended = running.ended(command)
    assert ended.status is Status.SUCCEEDED
    assert_whole(running.streamed(ended))
    assert running.reads("count") == "x\n"


def test_many_commands_of_two_runners_survive_what_befalls_their_connections(running):
    running.create()
    chance = random.Random(7)
    running.there.faults[:] = [_fault(chance) for _ in range(20)]
    with running.runner(), running.runner(of_another=True):
        commands = [
            running.submit(f"echo {i} >>count; echo {i}; sleep 0.1; exit {i}") for i in range(16)
        ]
        for _ in range(3):
            time.sleep(0.2)
            running.there.cut_execs()
        for i, command in enumerate(commands):
            ended = running.ended(command)
            assert (ended.exit_code, running.streamed(ended)) == (i, b"%d\n" % i)
    assert sorted(map(int, running.reads("count").split())) == list(range(16))
