"""A stdin that stays open: its feeder, a process of this machine. The rest is in
tests/conformance/workspaces."""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from command_ids import ONE, TWO
from integration.workspaces.late_feeder import held_feeder
from integration.workspaces.place import DEADLINE_S, DRAIN_S, SHELLS, Place, eventually, gone
from rdev.adapters.workspaces.local import LocalWorkspaces
from rdev.adapters.workspaces.local_workspace import SUPERVISOR, LocalWorkspace
from rdev.adapters.workspaces.stdin_file import StdinFile
from rdev.ports import Liveness


def test_the_feeder_ends_with_the_leader_and_is_no_child_of_it(place):
    line = 'ps -o pid= --ppid $$ | grep -vw "$$" | wc -l; read -r go'
    place.workspace.start(place.sh(line, stdin_open=True))
    assert int(place.said()) <= 3, "ps, grep and wc"
    feeder = feeder_of(place)
    place.workspace.feed(ONE, 0, b"go\n")
    place.finish()
    eventually(lambda: gone(feeder))


def test_a_descendant_that_reads_on_ends_and_so_does_the_feeder(place):
    place.workspace.start(place.sh("exec 3<&0; sleep 60 <&3 & echo begun", stdin_open=True))
    place.said()
    place.workspace.feed(ONE, 0, bytes(200_000))
    place.finish()
    feeder = feeder_of(place)
    eventually(lambda: gone(feeder))


def test_a_killed_supervisor_does_not_interrupt_the_input(place):
    place.workspace.start(place.launch("cat", stdin_open=True))
    place.workspace.feed(ONE, 0, b"one\n")
    place.said()
    feeder, supervisor = feeder_of(place), supervisor_of(place)
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: gone(supervisor))
    place.workspace.feed(ONE, 4, b"two\n")
    eventually(lambda: place.output("stdout") == b"one\ntwo\n")
    place.workspace.close_stdin(ONE)
    assert place.until_over() is Liveness.DEAD
    eventually(lambda: gone(feeder))


def test_cleaning_up_ends_a_feeder_that_was_left_alone(place):
    place.workspace.start(place.launch("sleep", "60", stdin_open=True))
    eventually((place.commands / f"{ONE}/feeder").exists)
    feeder = feeder_of(place)
    os.kill(supervisor_of(place), signal.SIGKILL)
    place.workspace.signal(ONE, "KILL")
    place.workspace.clean(ONE)
    eventually(lambda: gone(feeder))
    assert place.workspace.feed(ONE, 0, b"x") is None


def test_a_refused_start_leaves_no_feeder(place):
    place.workspace.start(place.launch("no-such-program", stdin_open=True))
    place.finish()
    assert place.workspace.refusal(ONE) is not None
    feeder = feeder_of(place)
    eventually(lambda: gone(feeder))


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to be somebody without processes")
@pytest.mark.parametrize(
    ("name", "processes"),
    # That of its own, its leader's, what is between; bash tries again for a quarter of a minute.
    [
        (name, processes)
        for name in SHELLS
        for processes in {"bash": [2], "bash-posix": []}.get(name, [2, 3])
    ],
)
def test_a_command_whose_feeder_finds_no_process_is_declined_and_not_run(name, processes):
    nobody = 1_000_000_000 + os.getpid() * 10 + processes  # zombies of another run would count
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (place := folder / ONE).mkdir()
        (folder / ".tokens").mkdir()
        (place / "launch").write_text('enter .\nexec "$@" echo ran >&3\n')
        for each in ("stdin", "out", "err", "closed"):
            (place / each).touch()
        StdinFile(place).prepare()
        shutil.copy(SUPERVISOR, folder / "supervisor.sh")
        for each in (folder, *folder.rglob("*")):
            os.chown(each, nobody, nobody)
        words = ("supervisor.sh", place, folder / f".tokens/{ONE}", folder, 50)
        subprocess.run(
            ["prlimit", f"--nproc={processes}", *SHELLS[name], *map(str, words)],
            cwd=folder,
            env={"PATH": os.environ["PATH"]},
            user=nobody,
            group=nobody,
            extra_groups=[],
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=DEADLINE_S,
        )
        assert (place / "refused").read_text().startswith("infrastructure\nno process")
        assert not (place / "exit").exists()
        assert (place / "out").read_text() == ""
        assert (place / "done").exists()


def test_a_feeder_that_comes_late_to_a_command_that_is_being_removed_ends(place, shell):
    with held_feeder(shell, place.commands / TWO, place.root) as feeder:
        os.kill(supervisor_of(place, TWO), signal.SIGKILL)
        place.workspace.signal(TWO, "KILL")
        (place.commands / TWO).rename(place.commands / f".old.{TWO}.0")
    eventually(lambda: gone(feeder))


def test_a_feeder_whose_leader_was_killed_before_it_came_is_known(place, shell):
    with held_feeder(shell, place.commands / TWO, place.root) as feeder:
        place.workspace.signal(TWO, "KILL")
    eventually((place.commands / f"{TWO}/feeder").exists)
    place.workspace.abolish(TWO)
    eventually(lambda: gone(feeder))


def test_cleaning_up_again_ends_the_feeder_of_what_a_killed_runner_had_put_aside(place):
    place.workspace.start(place.launch("sleep", "60", stdin_open=True))
    feeder = feeder_of(place)
    os.kill(supervisor_of(place), signal.SIGKILL)
    place.workspace.signal(ONE, "KILL")
    (place.commands / ONE).rename(place.commands / f".old.{ONE}.0")
    place.workspace.clean(ONE)
    eventually(lambda: gone(feeder))


def test_deleting_a_project_ends_the_feeder_of_a_command_that_began_meanwhile(place, monkeypatch):
    place.workspace.start(place.launch("sleep", "60", stdin_open=True))
    feeder = feeder_of(place)
    os.kill(supervisor_of(place), signal.SIGKILL)
    place.workspace.signal(ONE, "KILL")
    with monkeypatch.context() as begun_after_the_look:
        begun_after_the_look.setattr(LocalWorkspace, "abolish", lambda *_: None)
        place.workspaces.delete("demo", lambda: None)
    eventually(lambda: gone(feeder))


@pytest.mark.parametrize("use_inotify", [True, False])
def test_a_wait_ends_when_it_is_woken(one_place, use_inotify):
    workspaces = LocalWorkspaces(
        one_place.root.parent, one_place.commands.parent, drain_s=DRAIN_S, use_inotify=use_inotify
    )
    try:
        workspace = workspaces.of("demo")
        workspace.start(one_place.launch("sleep", "60"))
        eventually(lambda: workspace.liveness(ONE) is Liveness.RUNNING)
        for _ in range(3):
            workspace.wait(ONE, 0.1)
        waiting = threading.Thread(target=workspace.wait, args=(ONE, DEADLINE_S * 2))
        waiting.start()
        deadline = time.monotonic() + DEADLINE_S
        while waiting.is_alive():
            assert time.monotonic() < deadline
            workspace.wake(ONE)
            waiting.join(0.05)
    finally:
        workspaces.close()


def feeder_of(place: Place) -> int:
    path = place.commands / f"{ONE}/feeder"
    eventually(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text().partition(":")[0])


def supervisor_of(place: Place, command_id: str = ONE) -> int:
    token = place.commands / ".tokens" / command_id
    eventually(lambda: token.exists() and token.read_text().endswith("\n"))
    return int(token.read_text().split(":")[2])
