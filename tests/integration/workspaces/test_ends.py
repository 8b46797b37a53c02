"""How commands end when the supervisor or the machine dies. The rest is in
tests/conformance/workspaces."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from command_ids import MINE, ONE
from integration.workspaces.place import THREADS_RUN_ON, eventually, gone, only_its_threads_run
from rdev.adapters.workspaces import start_token
from rdev.domain.commands import Exit
from rdev.ports import Liveness


def taker_of(place, command_id=ONE):
    token_path = place.commands / ".tokens" / command_id
    eventually(lambda: token_path.exists() and token_path.read_text().endswith("\n"))
    token = start_token.read(token_path, place.commands / command_id)
    assert token is not None
    return token.takers[0]


def test_a_supervisor_that_is_politely_asked_to_end_stays(place):
    place.workspace.start(place.sh("echo on; sleep 0.3; exit 4"))
    place.said()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(taker_of(place).supervisor.pid, number)
    place.finish()
    assert place.result()[0] == 4


def test_a_supervisor_killed_in_the_drain_leaves_survivors_to_whoever_asks(place):
    place.workspace.start(place.sh("sleep 100 & echo on; exit 5"))
    taker = taker_of(place)
    eventually(lambda: place.workspace.exit(ONE) == Exit(5))
    os.kill(taker.supervisor.pid, signal.SIGKILL)
    place.finish()
    assert place.result() == (5, b"on\n", b"")
    assert place.workspace.survivors(ONE) == 0


@pytest.mark.parametrize("name", ["out", "err", "exit", "refused", "done", "synced", "cgroups"])
def test_what_a_command_puts_in_place_of_its_files_keeps_nobody_waiting(place, name):
    for number, how in enumerate(("mkfifo", "mkdir", "ln -s /dev/zero")):
        command_id = f"{MINE}{number}"
        there = 'd=$(dirname "$(readlink /proc/self/fd/2)")'
        line = f'{there}; rm -f "$d/{name}"; {how} "$d/{name}"; sleep 0.05; exit 3'
        place.workspace.start(place.sh(line, id=command_id))
        supervisor = taker_of(place, command_id).supervisor
        assert place.until_over(command_id) in (Liveness.ENDED, Liveness.DEAD)
        place.result(command_id)
        place.workspace.refusal(command_id)
        eventually(lambda: gone(supervisor.pid))  # noqa: B023 - at once
        place.workspace.clean(command_id)
        assert not (place.commands / command_id).exists()


def test_no_supervisor_stays_behind(place):
    place.run(place.launch("true"))
    taker = taker_of(place)
    eventually(lambda: not Path(f"/proc/{taker.supervisor.pid}").exists())


def test_after_a_reboot_what_was_on_the_disk_counts_and_the_rest_is_dead(place):
    place.run(place.launch("true"))
    eventually((place.commands / f"{ONE}/synced").exists)
    token = place.commands / f".tokens/{ONE}"
    pids, _, _ = token.read_text().rpartition(":")
    token.write_text(f"{pids}:another-boot\n")
    assert place.workspace.liveness(ONE) is Liveness.ENDED
    (place.commands / f"{ONE}/synced").unlink()
    assert place.workspace.liveness(ONE) is Liveness.DEAD
    assert place.workspace.loss(ONE) == "The machine was started anew."


def test_after_a_reboot_a_process_of_the_leaders_id_is_none_of_its(place):
    place.run(place.launch("true"))
    token = place.commands / f".tokens/{ONE}"
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as other:
        try:
            token.write_text(f"{other.pid}:1:{other.pid}:1:another-boot\n")
            assert place.workspace.survivors(ONE) == 0
            place.workspace.signal(ONE, "KILL")
            assert other.poll() is None
        finally:
            other.kill()


@pytest.mark.parametrize(("name", "code"), [("TERM", 143), ("KILL", 137)])
def test_a_command_of_which_only_threads_run_on_is_ended(place, name, code):
    place.workspace.start(place.launch(sys.executable, "-c", THREADS_RUN_ON))
    leader = taker_of(place).leader.pid
    eventually(lambda: only_its_threads_run(leader))
    assert place.workspace.survivors(ONE) == 1
    place.workspace.signal(ONE, name)
    place.finish()
    assert place.result()[0] == code


def test_a_descendant_of_which_only_threads_run_on_is_killed(place):
    run = shlex.join([sys.executable, "-c", THREADS_RUN_ON])
    place.workspace.start(place.sh(f"{run} & echo $!; read -r go; exit 3", stdin_open=True))
    pid = int(place.said())
    eventually(lambda: only_its_threads_run(pid))
    place.workspace.feed(ONE, 0, b"go\n")
    place.finish()
    assert gone(pid)
    assert place.result()[0] == 3
