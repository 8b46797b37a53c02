"""Commands in pods that others made, as they are: with a volume or none, fit for them or not."""

import signal
import time
from pathlib import Path

import pytest

from integration.pods.running import Running, keeping
from kubernetes_stand_in.container import PATH
from live_stack import wait_for
from rdev.domain.commands import Status
from rdev.ports import Liveness
from small_cluster import PODS

COUNTED = "echo x >>/kept/count; echo begun; until [ -e /kept/go ]; do sleep 0.02; done; echo over"


@pytest.fixture(autouse=True)
def _nothing_kept(running: Running):
    yield
    running.forget_kept()


def test_with_the_label_alone_commands_run_where_its_own_processes_do(running):
    running.put(keeping(workingDir="/kept"))
    with running.runner():
        ended = running.ended(running.submit("pwd; ls -d /tmp/.rdev; echo $HOME"))
        assert running.streamed(ended) == b"/kept\n/tmp/.rdev\n/kept\n"
        assert running.ended(running.submit("ls /kept")).status is Status.SUCCEEDED


def test_with_a_root_commands_and_their_files_are_below_it(running):
    running.put(keeping(), **{"rdev.dev/root": "/kept/rdev"})
    with running.runner():
        ended = running.ended(running.submit("pwd; ls -a ..; ls -d /tmp/.rdev"))
    assert running.streamed(ended) == b"/kept/rdev/workspace\n.\n..\ncommands\nworkspace\n"
    assert (ended.status, ended.exit_code) == (Status.FAILED, 2)


def test_in_an_image_without_a_shell_a_command_fails_and_says_so(running):
    running.put(keeping("no-shell"))
    with running.runner():
        ended = running.ended(running.submit("true"))
    assert (ended.status, ended.reason, ended.started_at) == (Status.FAILED, "no_shell", None)
    assert ended.reason_message == (
        f"The image of {running.pod} has no `sh`, so no command can run in it."
    )


def test_where_nothing_can_be_written_a_command_fails_and_says_where(running):
    running.put(keeping(securityContext={"readOnlyRootFilesystem": True}))
    with running.runner():
        ended = running.ended(running.submit("true"))
    assert (ended.status, ended.reason) == (Status.FAILED, "workspace_not_writable")
    assert "nothing can be written to /tmp/.rdev" in ended.reason_message
    assert "rdev.dev/root" in ended.reason_message


def test_where_its_files_go_with_its_container_a_running_command_is_lost_and_runs_once(running):
    running.put(keeping())
    with running.runner():
        command = running.submit(COUNTED)
        running.await_running_command(command, b"begun\n")
        running.there.kill(running.pod, "OOMKilled")
        ended = running.ended(command)
        assert running.ended(running.submit("true")).status is Status.SUCCEEDED
    assert (ended.status, ended.reason) == (Status.LOST, "workspace_lost")
    assert "It wanted more memory than the template allows" in ended.reason_message
    assert ended.started_at is not None
    assert ended.output.stdout == 6
    assert running.streamed(ended) == b"begun\n"
    assert running.reads("count", "/kept") == "x\n"


@pytest.mark.parametrize("taken_over", [True, False])
def test_what_may_have_started_in_files_that_are_gone_is_not_started_again(running, taken_over):
    """Its runner had it started, and came no further; it dies, or goes on much later."""
    running.put(keeping())
    command = running.submit(COUNTED)
    with running.runner_process("start.after" if taken_over else "stop:start.after") as process:
        wait_for(lambda: running.reads("count", "/kept"))
        if taken_over:
            process.wait()
        else:
            wait_for(lambda: _stopped(process.pid))
        running.there.kill(running.pod, "OOMKilled")
        if taken_over:
            with running.runner():
                ended = running.ended(command)
        else:
            process.send_signal(signal.SIGCONT)
            ended = running.ended(command)
    assert (ended.status, ended.reason) == (Status.LOST, "workspace_lost")
    time.sleep(0.1)
    assert running.reads("count", "/kept") == "x\n"


@pytest.mark.parametrize("waits_s", [0, 3])
def test_what_met_an_error_of_rdevs_own_is_not_started_again_in_other_files(running, waits_s):
    """Its runner can do no more than to wait for its end, after the fifth; or is about to."""
    running.put(keeping())
    command = running.submit(COUNTED)
    with running.runner_process("raise:start.after"):
        wait_for(lambda: running.reads("count", "/kept"))
        time.sleep(waits_s)  # nothing tells how far it is
        running.there.kill(running.pod, "OOMKilled")
        ended = running.ended(command)
    assert (ended.status, ended.reason) == (Status.LOST, "workspace_lost")
    time.sleep(0.1)
    assert running.reads("count", "/kept") == "x\n"


def _stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_pod_that_is_deleted_for_good_takes_its_command_along(running):
    running.put(keeping())
    with running.runner():
        command = running.submit(COUNTED)
        running.await_running_command(command, b"begun\n")
        running.there.remove(PODS, running.pod, grace_s=0.1)
        ended = running.ended(command)
    assert (ended.status, ended.reason) == (Status.LOST, "workspace_lost")
    assert ended.reason_message == "No pod carries this project's label."
    assert ended.started_at is not None
    assert ended.output.stdout == 6


def test_one_whose_pod_is_replaced_by_one_without_a_shell_does_not_run_for_ever(running):
    running.put(keeping())
    with running.runner(gone_s=60, workspace_s=1, silent_s=1):
        command = running.submit(COUNTED, timeout_s=5)
        running.await_running_command(command, b"begun\n")
        running.there.vanish(running.pod)
        wait_for(lambda: (PODS, running.pod) not in running.there.objects)
        running.put(keeping("no-shell"))
        ended = running.ended(command)
    assert (ended.status, ended.reason) == (Status.LOST, "workspace_lost")
    assert ended.reason_message == "Its pod was deleted."
    assert ended.started_at is not None
    assert running.streamed(ended) == b"begun\n"


def test_files_of_commands_that_somebody_removes_end_them_and_no_other(running):
    running.put(keeping())
    with running.runner():
        command = running.submit(COUNTED)
        running.await_running_command(command, b"begun\n")
        running.submit("rm -rf /tmp/.rdev")
        ended = running.ended(command)
        assert (ended.status, ended.reason) == (Status.LOST, "workspace_lost")
        assert running.ended(running.submit("true")).status is Status.SUCCEEDED
    assert running.reads("count", "/kept") == "x\n"


def test_what_a_command_wrote_is_on_the_disk_once_the_pods_sync_says_so(running):
    programs = running.there.folder / "claims" / "kept" / "programs"
    programs.mkdir(parents=True)
    (programs / "sync").write_text("#!/bin/sh\nuntil [ -e /kept/go ]; do sleep 0.05; done\n")
    (programs / "sync").chmod(0o755)
    running.put(keeping(env=[{"name": "PATH", "value": f"/kept/programs:{PATH}"}]))
    workspace = running.workspaces.of(running.project)
    with running.runner(flush_s=60):
        command = running.submit("echo out")
        wait_for(lambda: workspace.liveness(command.id) is Liveness.ENDED)
        assert workspace.flushed(command.id) is False
        assert running.get(command).status is Status.RUNNING
        running.writes("go", "/kept")
        assert running.ended(command).status is Status.SUCCEEDED
