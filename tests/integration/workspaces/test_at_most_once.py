"""However many try and whatever dies, a command starts at most once: what only this machine's
files can show of it. The rest is in tests/conformance/workspaces."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from command_ids import ONE, TWO
from integration.workspaces.place import eventually
from rdev.adapters.workspaces import start_token
from rdev.adapters.workspaces.local_workspace import SUPERVISOR
from rdev.ports import Liveness


def test_supervisors_that_race_for_the_token_itself_start_it_once(place, shell):
    """Past the adapter's own checks: twenty scripts at once on one prepared directory."""
    go = place.root / "go"
    place.workspace.start(place.sh(f"until [ -e {go} ]; do sleep 0.05; done; echo once"))
    eventually(lambda: place.workspace.liveness(ONE) is Liveness.RUNNING)
    token = place.commands / f".tokens/{TWO}"
    second = place.commands / TWO
    second.mkdir()
    script = (place.commands / f"{ONE}/launch").read_text().replace(ONE, TWO)
    (second / "launch").write_text(script)
    argv = [*shell, str(SUPERVISOR), str(second), str(token), str(place.root), "50"]
    racing = [
        subprocess.Popen(argv, env={"PATH": os.defpath}, stderr=subprocess.DEVNULL, cwd="/")
        for _ in range(20)
    ]
    go.touch()
    assert {racer.wait(60) for racer in racing} == {0}
    assert place.result(TWO) == (0, b"once\n", b"")
    place.finish()


def test_a_leader_that_cannot_write_its_name_into_the_token_gives_it_back(place, shell):
    """As on a full disk: here files can be made, and nothing can be written to them."""
    place.run(place.launch("true"))
    token, second = place.commands / f".tokens/{TWO}", place.commands / TWO
    second.mkdir()
    (second / "launch").write_text('enter .\nexec "$@" touch ran\n')
    argv = [*shell, str(SUPERVISOR), str(second), str(token), str(place.root), "50"]
    full = ["bash", "-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "full", *argv]
    for attempt in (full, argv):
        assert not token.exists()
        assert not (place.root / "ran").exists()
        subprocess.run(attempt, env={"PATH": os.defpath}, stderr=subprocess.DEVNULL, check=True)
    assert (place.root / "ran").exists()
    assert place.result(TWO)[0] == 0


def test_a_directory_that_a_crash_left_prepared_is_started(place):
    launch = place.launch("echo", "hi")
    place.workspace.start(launch)
    place.finish()
    # As if the runner had died between the preparation and the supervisor's start.
    (place.commands / f".tokens/{ONE}").unlink()
    for name in ("synced", "done", "exit"):
        eventually((place.commands / ONE / name).exists)
        (place.commands / ONE / name).unlink()
    assert place.workspace.liveness(ONE) is Liveness.PREPARED
    assert place.run(launch) == (0, b"hi\nhi\n", b"")


def test_a_leader_that_is_killed_before_it_signs_has_started_nothing_and_nobody_ever_will(
    place, shell
):
    """By the kernel, for its first write to a file."""
    place.run(place.launch("true"))
    token, second = place.commands / f".tokens/{TWO}", place.commands / TWO
    second.mkdir()
    (second / "launch").write_text('enter .\nexec "$@" touch ran\n')
    argv = [*shell, str(SUPERVISOR), str(second), str(token), str(place.root), "50"]
    killed = ["bash", "-c", 'ulimit -f 0; exec "$@"', "killed", *argv]
    subprocess.run(killed, env={"PATH": os.defpath}, stderr=subprocess.DEVNULL, check=False)
    assert token.read_text() == ""
    assert place.workspace.liveness(TWO) is Liveness.ENDED
    reason, message = place.workspace.refusal(TWO)
    assert reason == "infrastructure"
    assert "killed before it began" in message
    subprocess.run(argv, env={"PATH": os.defpath}, check=True)
    assert place.workspace.liveness(TWO) is Liveness.ENDED
    assert place.workspace.exit(TWO) is None
    assert not (place.root / "ran").exists()


def test_tokens_outlive_the_directory_for_their_time(place):
    place.run(place.launch("true"))
    token = place.commands / f".tokens/{ONE}"
    os.utime(token, (0, 0))
    assert place.workspaces.prune() == 0, "its directory is still there"
    place.workspace.clean(ONE)
    assert not (place.commands / ONE).exists()
    assert place.workspaces.prune() == 0, "its time begins with the clean"
    assert token.exists()
    os.utime(token, (time.time() - 8 * 86400,) * 2)
    assert place.workspaces.prune() == 1
    assert not token.exists()


def test_a_script_that_is_overwritten_under_a_running_supervisor_does_it_no_harm(place, shell):
    """As an upgrade in place does: a shell reads its script as it goes."""
    place.run(place.launch("true"))
    script, go = place.root / "supervisor.sh", place.root / "go"
    script.write_bytes(SUPERVISOR.read_bytes())
    token, second = place.commands / f".tokens/{TWO}", place.commands / TWO
    second.mkdir()
    (second / "launch").write_text(
        'enter .\nexec "$@" sh -c "until [ -e go ]; do :; done; exit 3"\n'
    )
    argv = [*shell, str(script), str(second), str(token), str(place.root), "50"]
    with subprocess.Popen(argv, env={"PATH": os.defpath}, cwd="/") as supervisor:
        eventually(lambda: place.workspace.survivors(TWO))
        script.write_bytes(b"exit 99\n" * (SUPERVISOR.stat().st_size // 8 + 1))
        go.touch()
        assert supervisor.wait(60) == 0
    assert place.result(TWO)[0] == 3
    assert (second / "done").exists()


def test_a_token_that_does_not_say_yet_whose_it_is_starts_nothing_in_the_record(one_place):
    """It may be given back: on a full disk a leader takes it, and cannot sign it."""
    one_place.run(one_place.launch("true"))
    told = (one_place.commands / f".tokens/{ONE}").read_text().strip()
    boot = told.rpartition(":")[2]
    start = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    taker = ":".join([str(os.getpid()), start] * 2 + [boot])
    (one_place.commands / TWO).mkdir()
    (one_place.commands / TWO / f"by:{taker}").touch()
    token = one_place.commands / f".tokens/{TWO}"
    token.touch()
    assert one_place.workspace.liveness(TWO) is Liveness.PREPARED
    token.write_text(f"{taker}\n")
    assert one_place.workspace.liveness(TWO) is Liveness.RUNNING
    token.unlink()
    shutil.rmtree(one_place.commands / TWO)


def test_a_token_that_is_given_back_while_it_is_looked_at_ends_nothing(one_place):
    """Between reading it and looking for its takers, the leader may give it back and end."""
    one_place.run(one_place.launch("true"))
    boot = (one_place.commands / f".tokens/{ONE}").read_text().strip().rpartition(":")[2]
    directory = one_place.commands / TWO
    directory.mkdir()
    (directory / f"by:999999999:1:999999999:1:{boot}").touch()
    token = one_place.commands / f".tokens/{TWO}"
    token.touch()
    given_back = []

    def give_back(frame: FrameType, _event: str, _arg: object) -> None:
        if frame.f_code is start_token.parse.__code__ and not given_back:
            given_back.append(token.unlink())

    before = sys.gettrace()
    sys.settrace(give_back)
    try:
        assert one_place.workspace.liveness(TWO) is Liveness.PREPARED
    finally:
        sys.settrace(before)
    assert given_back
    shutil.rmtree(directory)
