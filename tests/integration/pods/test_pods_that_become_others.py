"""Commands whose pod is replaced by one that is not like it, or that has others beside it."""

import time

import pytest

from integration.pods.running import GONE_S, Running, keeping
from live_stack import wait_for
from rdev.domain.commands import Status
from small_cluster import PODS

LIVES_ON = "echo begun; until [ -e /kept/go ]; do sleep 0.02; done; echo over"


@pytest.fixture(autouse=True)
def _nothing_kept(running: Running):
    yield
    running.there.vanish(f"{running.project}-1")
    running.forget_kept()


@pytest.mark.parametrize("taken_over", [False, True])
def test_one_without_a_shell_has_its_command_lost_for_the_pods_reason(running, taken_over):
    running.put(keeping())
    with running.runner():
        command = running.submit(LIVES_ON)
        running.await_running_command(command, b"begun\n")
        if not taken_over:
            replaced_by_one_without_a_shell(running)
            ended = running.ended(command)
    if taken_over:
        replaced_by_one_without_a_shell(running)
        with running.runner():
            ended = running.ended(command)
    assert (ended.status, ended.reason) == (Status.LOST, "workspace_lost")
    assert ended.reason_message == "Its pod was deleted."
    assert running.streamed(ended) == b"begun\n"
    assert ended.output.stdout == 6


@pytest.mark.parametrize("taken_over", [False, True])
def test_what_runs_in_one_of_several_is_followed_there_when_another_comes_first(
    running, taken_over
):
    running.put(keeping())
    with running.runner():
        command = running.submit(LIVES_ON)
        running.await_running_command(command, b"begun\n")
        if not taken_over:
            put_before(running)
            running.writes("go", "/kept")
            ended = running.ended(command)
    if taken_over:
        put_before(running)
        with running.runner(of_another=True):
            running.writes("go", "/kept")
            ended = running.ended(command)
    assert (ended.status, ended.exit_code) == (Status.SUCCEEDED, 0)
    assert running.streamed(ended) == b"begun\nover\n"
    with running.runner():
        wait_for(lambda: not (running.root("/tmp/.rdev") / command.id).exists())


def test_what_runs_in_one_of_several_is_cancelled_there(running):
    running.put(keeping())
    with running.runner():
        command = running.submit(LIVES_ON)
        running.await_running_command(command, b"begun\n")
        put_before(running)
        running.serving.exec.cancel(running.serving.by, running.project, command.id)
        ended = running.ended(command)
    assert (ended.status, ended.exit_code) == (Status.CANCELLED, 143)


def put_before(running: Running) -> None:
    """Another of the same label, which has been there for longer."""
    meta = {
        "name": f"{running.project}-1",
        "labels": {"rdev.dev/project": running.project},
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }

    def life() -> str:
        return running.workspaces.of(running.project).life()

    before = life()
    running.there.put(PODS, {"metadata": meta, "spec": keeping()})
    wait_for(lambda: life() != before)
    time.sleep(0.2)  # let whoever would be misled by it be misled


def replaced_by_one_without_a_shell(running: Running) -> None:
    running.there.vanish(running.pod)
    wait_for(lambda: (PODS, running.pod) not in running.there.objects)
    running.put(keeping("no-shell"))


def test_one_in_whose_folder_nothing_can_be_written_now_keeps_its_command(running):
    as_somebody = keeping(securityContext={"runAsUser": 1000})
    running.put(as_somebody, **{"rdev.dev/root": "/kept/rdev"})
    with running.runner():
        command = running.submit(LIVES_ON)
        running.await_running_command(command, b"begun\n")
        running.root("/kept/rdev/commands").chmod(0o500)
        running.there.cut_execs()
        time.sleep(3 * GONE_S)  # for what must not happen there is no event
        assert running.get(command).status is Status.RUNNING
        running.root("/kept/rdev/commands").chmod(0o700)
        running.writes("go", "/kept")
        ended = running.ended(command)
    assert (ended.status, ended.exit_code) == (Status.SUCCEEDED, 0)
    assert running.streamed(ended) == b"begun\nover\n"
