"""How commands end when something hangs on or is killed: always, and truly."""

import time

import pytest

from live_stack import wait_for
from rdev.domain.commands import Exit
from rdev.ports import Liveness

STUBBORN = "trap '' TERM INT; echo on; while :; do sleep 0.1; done"


def test_a_killed_supervisor_leaves_the_command_running_and_then_dead(place):
    go = place.file("go")
    line = f"kill -9 $PPID; echo on; until [ -e {go} ]; do sleep 0.05; done; echo off"
    place.workspace.start(place.sh(line))
    place.said()
    assert place.workspace.liveness(place.id()) is Liveness.RUNNING
    place.do(f": >{go}")
    assert place.until_over() is Liveness.DEAD
    assert place.result() == (None, b"on\noff\n", b"")


def test_a_supervisor_that_was_stopped_is_woken_by_the_signal_that_ends_its_command(place):
    place.workspace.start(place.sh("kill -STOP $PPID; echo on; exec sleep 100"))
    place.said()
    place.workspace.signal(place.id(), "TERM")
    place.finish()
    assert place.result() == (143, b"on\n", b"")


def test_what_a_leader_begets_as_it_ends_is_found(place):
    """Although each forks and is gone before anybody can read its environment."""
    names = [f"-{number}" for number in range(12)]
    for name in names:
        line = "(setsid sh -c '(sh -c \"(sleep 100) &\" &)' &); exit 3"
        place.workspace.start(place.sh(line, which=name))
    for name in names:
        place.finish(name)
        assert place.workspace.survivors(place.id(name)) == 0
        assert place.result(name)[0] == 3


def test_what_has_ended_is_soon_on_the_disk(place):
    place.run(place.sh("echo out; exit 3"))
    wait_for(lambda: place.workspace.flushed(place.id()))


def test_a_killed_leader_is_137(place):
    place.workspace.start(place.sh("echo $$; exec sleep 100"))
    place.do(f"kill -9 {int(place.said())}")
    place.finish()
    assert place.result()[0] == 137


@pytest.mark.parametrize("way", ["", "setsid ", "exec setsid "])
def test_a_descendant_that_holds_the_files_open_is_given_its_time_and_killed(place, way):
    place.workspace.start(place.sh(f"({way}sh -c 'echo $$; exec sleep 100') & sleep 0.2; exit 3"))
    pid = int(place.said())
    wait_for(lambda: place.workspace.exit(place.id()) == Exit(3))
    place.finish()
    assert place.workspace.survivors(place.id()) == 0
    assert not place.alive(pid)


def test_what_a_descendant_writes_in_its_time_is_kept(place):
    assert place.run(place.sh("(sleep 0.1; echo late) & exit 0")) == (0, b"late\n", b"")


def test_a_descendant_without_the_id_is_found_by_its_group(place):
    place.workspace.start(place.sh("env -i /bin/sh -c 'echo $$; exec sleep 100' & sleep 0.2"))
    pid = int(place.said())
    place.finish()
    assert not place.alive(pid)


def test_another_commands_processes_are_left_alone(place):
    """Also where its id begins with the other's."""
    place.workspace.start(place.sh("echo on; exec sleep 100", which="2"))
    place.said("2")
    place.run(place.sh("sleep 100 & exit 0"))
    assert place.workspace.liveness(place.id("2")) is Liveness.RUNNING
    assert place.workspace.survivors(place.id("2")) == 1


@pytest.mark.parametrize(("name", "code"), [("TERM", 143), ("INT", 130), ("KILL", 137)])
def test_a_signal_reaches_the_whole_group(place, name, code):
    place.workspace.start(place.sh("sleep 100 & echo on; wait"))
    place.said()
    place.workspace.signal(place.id(), name)
    place.finish()
    assert place.result()[0] == code
    assert place.workspace.survivors(place.id()) == 0


def test_what_will_not_end_by_term_ends_by_kill(place):
    place.workspace.start(place.sh(STUBBORN))
    place.said()
    for name in ("TERM", "INT"):
        place.workspace.signal(place.id(), name)
    time.sleep(0.3)  # for what must not happen there is no event
    assert place.workspace.liveness(place.id()) is Liveness.RUNNING
    place.workspace.signal(place.id(), "KILL")
    place.finish()
    assert place.result()[0] == 137


def test_kill_reaches_what_left_the_group(place):
    place.workspace.start(place.sh(f'setsid sh -c "{STUBBORN}" & wait; sleep 100'))
    place.said()
    wait_for(lambda: place.workspace.survivors(place.id()) >= 2)
    place.workspace.signal(place.id(), "KILL")
    wait_for(lambda: place.workspace.survivors(place.id()) == 0)
    place.finish()


def test_a_signal_to_nothing_is_no_error(place):
    place.workspace.signal(place.id(), "TERM")
    place.run(place.launch("true"))
    place.workspace.signal(place.id(), "TERM")
    place.workspace.signal(place.id(), "KILL")
    assert place.result() == (0, b"", b"")
