"""How commands end when something dies, hangs on or is killed: always, and truly."""

import os
import signal
from pathlib import Path

import pytest

from integration.workspaces.place import eventually, gone
from rdev.adapters.workspaces import start_token
from rdev.domain.commands import Exit
from rdev.ports import Liveness


def taker_of(place, command_id="cmd-1"):
    token_path = place.commands / ".tokens" / command_id
    eventually(lambda: token_path.exists() and token_path.read_text().endswith("\n"))
    token = start_token.read(token_path, place.commands / command_id)
    assert token is not None
    return token.takers[0]


def test_a_killed_supervisor_leaves_the_command_running_and_then_dead(place):
    go = place.root / "go"
    place.workspace.start(place.sh(f"echo on; until [ -e {go} ]; do sleep 0.05; done; echo off"))
    place.said()
    taker = taker_of(place)
    os.kill(taker.supervisor.pid, signal.SIGKILL)
    eventually(lambda: not taker.supervisor.alive())
    assert place.workspace.liveness("cmd-1") is Liveness.RUNNING
    go.touch()
    assert place.until_over() is Liveness.DEAD
    assert place.result() == (None, b"on\noff\n", b"")


def test_a_killed_leader_is_137(place):
    place.workspace.start(place.sh("echo on; exec sleep 100"))
    place.said()
    os.kill(taker_of(place).leader.pid, signal.SIGKILL)
    place.finish()
    assert place.result()[0] == 137


def test_a_supervisor_that_is_politely_asked_to_end_stays(place):
    place.workspace.start(place.sh("echo on; sleep 0.3; exit 4"))
    place.said()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(taker_of(place).supervisor.pid, number)
    place.finish()
    assert place.result()[0] == 4


@pytest.mark.parametrize("way", ["", "setsid ", "exec setsid "])
def test_a_descendant_that_holds_the_files_open_is_given_its_time_and_killed(place, way):
    place.workspace.start(place.sh(f"({way}sh -c 'echo $$; exec sleep 100') & sleep 0.2; exit 3"))
    pid = int(place.said())
    eventually(lambda: place.workspace.exit("cmd-1") == Exit(3))
    place.finish()
    assert place.workspace.survivors("cmd-1") == 0
    assert gone(pid)


def test_what_a_descendant_writes_in_its_time_is_kept(place):
    assert place.run(place.sh("(sleep 0.1; echo late) & exit 0")) == (0, b"late\n", b"")


def test_a_descendant_without_the_id_is_found_by_its_group(place):
    place.workspace.start(place.sh("env -i /bin/sh -c 'echo $$; exec sleep 100' & sleep 0.2"))
    pid = int(place.said())
    place.finish()
    assert gone(pid)


def test_another_commands_processes_are_left_alone(place):
    place.workspace.start(place.sh("echo on; exec sleep 100", id="cmd-12"))
    place.said("cmd-12")
    place.run(place.sh("sleep 100 & exit 0", id="cmd-1"))
    assert place.workspace.liveness("cmd-12") is Liveness.RUNNING
    assert place.workspace.survivors("cmd-12") == 1


@pytest.mark.parametrize(("name", "code"), [("TERM", 143), ("INT", 130), ("KILL", 137)])
def test_a_signal_reaches_the_whole_group(place, name, code):
    place.workspace.start(place.sh("sleep 100 & echo on; wait"))
    place.said()
    place.workspace.signal("cmd-1", name)
    place.finish()
    assert place.result()[0] == code
    assert place.workspace.survivors("cmd-1") == 0


def test_kill_reaches_what_left_the_group(place):
    place.workspace.start(place.sh("setsid sleep 100 & echo on; wait"))
    place.said()
    eventually(lambda: place.workspace.survivors("cmd-1") == 2)
    place.workspace.signal("cmd-1", "KILL")
    assert place.workspace.survivors("cmd-1") == 0
    place.finish()


def test_a_signal_to_nothing_is_no_error(place):
    place.workspace.signal("cmd-1", "TERM")
    place.run(place.launch("true"))
    place.workspace.signal("cmd-1", "TERM")
    place.workspace.signal("cmd-1", "KILL")


def test_a_supervisor_killed_in_the_drain_leaves_survivors_to_whoever_asks(place):
    place.workspace.start(place.sh("sleep 100 & echo on; exit 5"))
    taker = taker_of(place)
    eventually(lambda: place.workspace.exit("cmd-1") == Exit(5))
    os.kill(taker.supervisor.pid, signal.SIGKILL)
    place.finish()
    assert place.result() == (5, b"on\n", b"")
    assert place.workspace.survivors("cmd-1") == 0


def test_no_supervisor_stays_behind(place):
    place.run(place.launch("true"))
    taker = taker_of(place)
    eventually(lambda: not Path(f"/proc/{taker.supervisor.pid}").exists())


def test_after_a_reboot_what_was_on_the_disk_counts_and_the_rest_is_dead(place):
    place.run(place.launch("true"))
    eventually((place.commands / "cmd-1/synced").exists)
    token = place.commands / ".tokens/cmd-1"
    pids, _, _ = token.read_text().rpartition(":")
    token.write_text(f"{pids}:another-boot\n")
    assert place.workspace.liveness("cmd-1") is Liveness.ENDED
    (place.commands / "cmd-1/synced").unlink()
    assert place.workspace.liveness("cmd-1") is Liveness.DEAD
    assert place.workspace.loss("cmd-1") == "The machine was started anew."
