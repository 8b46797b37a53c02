"""What a supervisor looks at as its leader has ended: in a process id namespace of its own, in
which the test says what the last id was."""

import os
import shlex
import shutil
import subprocess

import pytest

from command_ids import ONE
from rdev.adapters.workspaces import launch_file
from rdev.adapters.workspaces.command_files import CommandFiles
from rdev.adapters.workspaces.local_workspace import SUPERVISOR

OWN_IDS = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
LAST = "/proc/sys/kernel/ns_last_pid"

pytestmark = pytest.mark.skipif(
    subprocess.run(
        [*OWN_IDS, "sh", "-c", f"echo 1000 >{LAST}"], capture_output=True, check=False
    ).returncode
    != 0,
    reason="not allowed to make a process id namespace",
)


@pytest.fixture
def grep(tmp_path):
    """In front of the machine's own, and tells that it was called."""
    folder, called = tmp_path / "bin", tmp_path / "called"
    folder.mkdir()
    there = shutil.which("grep")
    (folder / "grep").write_text(f'#!/bin/sh\n: >{called}\nexec {there} "$@"\n')
    (folder / "grep").chmod(0o755)
    return called


def supervised(place, shell, line, *, before, after="true"):
    """What `after` wrote, once the supervisor of this command has ended; `before` is done first."""
    launch = place.sh(line)
    files = CommandFiles(place.commands, ONE)
    path = f"{place.root.parents[1]}/bin:{launch_file.DEFAULT_PATH}"
    environment = launch_file.environment(launch, home=os.fspath(place.root), path=path)
    script = launch_file.render(launch, environment)
    files.prepare(script, b"", stdin_open=False, cgroups=())
    words = [*shell, SUPERVISOR, files.directory, files.token_path, place.root, "20"]
    supervisor = shlex.join(map(str, words))
    done = subprocess.run(
        [*OWN_IDS, "sh", "-c", f"{before}; setsid -w {supervisor}; {after}"],
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert files.has("done")
    return done.stdout.split()


def test_what_ran_long_before_and_has_a_higher_id_is_not_looked_at(place, shell, grep):
    older = f"echo 20000 >{LAST}; sleep 100 & sleep 100 & echo 1000 >{LAST}"
    supervised(place, shell, "echo hi", before=older)
    assert place.output("stdout") == b"hi\n"
    assert not grep.exists()


def test_what_was_begotten_after_they_came_round_is_found(place, shell, grep):
    most = "$(cat /proc/sys/kernel/pid_max)"
    line = "for each in 1 2 3 4 5 6 7 8; do setsid sleep 100 & done; sleep 0.1"
    alive = f"cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -c RDEV_COMMAND_ID={ONE} || true"
    left = supervised(place, shell, line, before=f"echo $(({most} - 8)) >{LAST}", after=alive)
    assert left == ["0"]


@pytest.mark.parametrize(("in_between", "times"), [(False, 2), (True, 3)])
def test_who_is_being_execed_asks_for_a_third_look_and_who_is_gone_does_not(
    place, shell, tmp_path, in_between, times
):
    if shell[0] == "busybox":
        pytest.skip("its grep is its own")
    one, both, looks = tmp_path / "one", tmp_path / "both", tmp_path / "looks"
    (tmp_path / "bin").mkdir()
    fake, told = tmp_path / "bin/grep", tmp_path / "told"
    end_one = f"kill $(cat {one}); while [ -e /proc/$(cat {one}) ]; do sleep 0.01; done"
    # Whoever has no environment is asked for with -L.
    lists = (
        f"[ -e {told} ] || {{ : >{told}; echo /proc/1/environ; }}; exit" if in_between else "exit"
    )
    fake.write_text(
        f"#!/bin/sh\ncase $1 in -L*) {lists} ;; esac\necho look >>{looks}\n{end_one}\nexit 1\n"
    )
    fake.chmod(0o755)
    others = f"sleep 100 & echo $! >{one}; sleep 100 & : >{both}"
    beside = f"(until [ -e begun ]; do sleep 0.01; done; {others}) >&- 2>&- &"
    line = f": >begun; until [ -e {both} ]; do sleep 0.01; done"
    supervised(place, shell, line, before=f"cd {place.root}; {beside} :")
    assert looks.read_text() == times * "look\n"
