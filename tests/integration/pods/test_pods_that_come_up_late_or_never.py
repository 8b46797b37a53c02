"""Commands whose pod is down for a while, or for good: none is given up before its pod had its
time, none is waited for without end, and what nobody asked it to start waits in the queue."""

import time

from integration.pods.running import CANNOT_START, Running
from live_stack import wait_for
from rdev.domain.commands import Command, Status
from rdev.domain.workspaces import State
from rdev.services.pauses import MOST_FAILURES

COUNTED = "echo x >>count; echo begun; until [ -e go ]; do sleep 0.02; done; echo over"


def test_what_ran_in_a_pod_that_does_not_come_up_again_is_given_up_before_its_time_is_over(running):
    running.create()
    with running.runner(down_s=1):
        command = running.submit(COUNTED, timeout_s=3000)
        running.await_running_command(command, b"begun\n")
        running.there.crash_loop(running.pod, CANNOT_START)
        ended = running.ended(command)
    assert (ended.status, ended.reason) == (Status.LOST, "workspace_lost")
    assert CANNOT_START in (ended.reason_message or "")
    assert ended.started_at is not None
    assert running.streamed(ended) == b"begun\n"


def test_what_ran_in_a_pod_that_crashes_again_and_again_is_given_up_although_it_seems_to_run(
    running,
):
    running.create()
    with running.runner(down_s=4):
        command = running.submit(COUNTED, timeout_s=3000)
        running.await_running_command(command, b"begun\n")
        running.there.crash_loop(running.pod, CANNOT_START)

        def over() -> bool:
            running.there.looks_up(running.pod)
            time.sleep(3)  # each for long enough to be seen, and shorter than down_s
            running.there.crash_loop(running.pod, CANNOT_START)
            time.sleep(3)
            return running.get(command).status.final

        wait_for(over)
        ended = running.get(command)
    assert (ended.status, ended.reason) == (Status.LOST, "workspace_lost")


def test_what_ran_in_a_pod_that_does_not_come_up_again_is_given_up_by_runners_that_live_shorter(
    running,
):
    running.create()
    with running.runner():
        command = running.submit(COUNTED, timeout_s=3000)
        running.await_running_command(command, b"begun\n")
    running.there.crash_loop(running.pod, CANNOT_START)
    wait_for(lambda: running.workspaces.state(running.project).state is State.FAILING)
    for _ in range(8):  # as one that was woken, and hands over what still runs
        with running.runner(down_s=6):
            time.sleep(2)
    ended = running.get(command)
    assert (ended.status, ended.reason) == (Status.LOST, "workspace_lost")


def slow_to_come_up(running: Running) -> None:
    running.there.down = True
    running.stack.callback(setattr, running.there, "down", False)  # the next test has it too
    running.there.vanish(running.pod)
    wait_for(lambda: running.workspaces.state(running.project).state is State.STARTING)


def test_what_ran_in_a_pod_that_is_slow_to_come_up_has_the_time_of_one_that_comes_up(running):
    running.create()
    with running.runner(down_s=1, workspace_s=60):
        command = running.submit(COUNTED)
        running.await_running_command(command, b"begun\n")
        slow_to_come_up(running)
        time.sleep(4)
        assert running.get(command).status is Status.RUNNING
        running.there.down = False
        ended = running.ended(command)
    assert (ended.status, ended.reason) == (Status.LOST, "killed_outside")


def test_what_ran_in_a_pod_that_stays_on_its_way_is_given_up(running):
    running.create()
    with running.runner(workspace_s=1):
        command = running.submit(COUNTED, timeout_s=3000)
        running.await_running_command(command, b"begun\n")
        slow_to_come_up(running)
        ended = running.ended(command)
    assert (ended.status, ended.reason) == (Status.LOST, "workspace_lost")


def left_by_its_runner(running: Running, line: str) -> Command:
    """Claimed, and not asked for yet; its pod is down."""
    command = running.submit(line)
    running.dies_at("claim.after")
    running.there.crash_loop(running.pod, CANNOT_START)
    wait_for(lambda: running.workspaces.state(running.project).state is State.FAILING)
    return command


def test_what_nobody_asked_its_pod_to_start_waits_in_the_queue_for_it(running):
    running.create()
    command = left_by_its_runner(running, "echo x >>count")
    with running.runner(down_s=1):
        wait_for(lambda: running.get(command).waiting_for)
        wait_for(lambda: running.get(command).status is Status.QUEUED)
        assert CANNOT_START in (running.get(command).waiting_for or "")
        running.there.vanish(running.pod)
        ended = running.ended(command)
    assert (ended.status, ended.waiting_for) == (Status.SUCCEEDED, None)
    assert running.reads("count") == "x\n"


def test_what_nobody_asked_its_pod_to_start_fails_where_that_never_comes_up(running):
    running.create()
    command = left_by_its_runner(running, "echo x >>count")
    with running.runner(workspace_s=1):
        ended = running.ended(command)
    assert (ended.status, ended.reason) == (Status.FAILED, "workspace_not_ready")
    assert ended.started_at is None


def test_what_its_pod_refuses_to_start_waits_in_the_queue_also_after_a_runner_died(running):
    running.create()
    command = running.submit("echo x >>count")
    running.dies_at("claim.after")
    in_the_way = running.root("/data") / "commands" / command.id
    in_the_way.parent.mkdir(exist_ok=True)
    in_the_way.write_text("")  # as where its volume is full
    with running.runner():
        wait_for(lambda: running.get(command).epoch > MOST_FAILURES + 2)
        assert not running.get(command).status.final
        in_the_way.unlink()
        ended = running.ended(command)
    assert ended.status is Status.SUCCEEDED
    assert running.reads("count") == "x\n"


def test_what_waits_for_its_pod_waits_no_longer_than_it_may_wait_in_the_queue(running):
    running.create()
    running.there.crash_loop(running.pod, CANNOT_START)
    wait_for(lambda: running.workspaces.state(running.project).state is State.FAILING)
    with running.runner(sweep_s=3600):  # also between two sweeps, as in a runner that was woken
        command = running.submit("echo x >>count", queue_timeout_s=1)
        ended = running.ended(command)
    assert (ended.status, ended.reason) == (Status.FAILED, "queue_timeout")
    assert ended.started_at is None


def test_one_whose_pod_comes_up_again_later_ends_as_its_files_say(running):
    running.create()
    with running.runner(down_s=60):
        command = running.submit(COUNTED)
        running.await_running_command(command, b"begun\n")
        running.there.crash_loop(running.pod, CANNOT_START)
        wait_for(lambda: running.workspaces.state(running.project).state is State.FAILING)
        running.there.vanish(running.pod)
        ended = running.ended(command)
    assert (ended.status, ended.reason) == (Status.LOST, "killed_outside")


def test_one_whose_pod_runs_again_and_has_yet_to_answer_is_not_given_up_for_that(running):
    running.create()
    with running.runner(down_s=6):
        command = running.submit(COUNTED)
        running.await_running_command(command, b"begun\n")
        running.there.crash_loop(running.pod, CANNOT_START)
        time.sleep(3)  # for long enough to be seen, and shorter than down_s
        running.there.looks_up(running.pod)
        time.sleep(6)
        assert running.get(command).status is Status.RUNNING
        running.there.vanish(running.pod)
        ended = running.ended(command)
    assert (ended.status, ended.reason) == (Status.LOST, "killed_outside")


def test_one_whose_slow_pod_fails_for_a_moment_is_not_given_up_for_that(running):
    running.create()
    with running.runner(down_s=8, workspace_s=120):
        command = running.submit(COUNTED)
        running.await_running_command(command, b"begun\n")
        slow_to_come_up(running)
        time.sleep(9)
        nowhere = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}
        running.there.status(running.pod, phase="Pending", conditions=[nowhere])
        wait_for(lambda: running.workspaces.state(running.project).state is State.FAILING)
        time.sleep(3)
        assert running.get(command).status is Status.RUNNING
        running.there.down = False
        ended = running.ended(command)
    assert (ended.status, ended.reason) == (Status.LOST, "killed_outside")
