"""What the kernel holds a command to; where it cannot, that this is said and nothing runs."""

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from command_ids import ONE
from integration.workspaces.place import Place, eventually, gone
from rdev.adapters.workspaces import cgroups
from rdev.adapters.workspaces.cgroup import Cgroup
from rdev.adapters.workspaces.local import LocalWorkspaces
from rdev.adapters.workspaces.local_workspace import cgroup_prefix
from rdev.errors import CommandRefused
from rdev.ports import Liveness

MANY_BYTES = f"{sys.executable} -c 'x = bytearray(400_000_000); print(len(x))'"


@cache
def enforced() -> frozenset[str]:
    return cgroups.find().limits


def needs(*limits: str) -> None:
    missing = set(limits) - enforced()
    if missing:
        pytest.skip(f"no control group for {', '.join(sorted(missing))} can be had here")


def groups_of(place: Place) -> list[Cgroup]:
    return list(cgroups.find().left_over(cgroup_prefix(place.commands)))


@pytest.fixture(autouse=True)
def no_group_is_left(one_place: Place) -> Iterator[None]:
    yield
    one_place.workspaces.delete("demo", lambda: None)
    assert groups_of(one_place) == []


def test_what_is_enforceable_is_what_the_probe_could_do(place):
    assert place.workspaces.enforceable() == {"output_mb"} | enforced()


def test_the_probe_leaves_nothing():
    found = cgroups.find()
    assert list(found.left_over("rdev-probe-")) == []


@pytest.mark.parametrize("limit", ["memory_mb", "processes"])
def test_a_limit_that_cannot_be_enforced_is_refused(one_place, limit):
    workspaces = LocalWorkspaces(
        one_place.root.parent, one_place.commands.parent, drain_s=0.1, find_cgroups=cgroups.Parents
    )
    try:
        assert workspaces.enforceable() == {"output_mb"}
        with pytest.raises(CommandRefused) as refused:
            workspaces.of("demo").start(one_place.launch("true", **{limit: 100}))
        assert refused.value.reason == "limits_not_enforceable"
        assert one_place.workspace.liveness(ONE) is Liveness.UNKNOWN
    finally:
        workspaces.close()


def test_a_command_without_limits_has_no_group(place):
    place.run(place.launch("true"))
    assert not (place.commands / f"{ONE}/cgroups").exists()
    assert place.workspace.usage(ONE) == {}


def test_too_much_memory_ends_it_with_137_and_the_kernel_says_so(place):
    needs("memory_mb")
    assert place.run(place.sh(f"exec {MANY_BYTES}", memory_mb=50)) == (137, b"", b"")
    usage = place.workspace.usage(ONE)
    assert usage["oom_kills"] == 1
    assert 40_000_000 < usage["memory_max_bytes"] <= 50_000_000


def test_enough_memory_is_enough(place):
    needs("memory_mb")
    assert place.run(place.sh(MANY_BYTES, memory_mb=600))[:2] == (0, b"400000000\n")
    usage = place.workspace.usage(ONE)
    assert usage["oom_kills"] == 0
    assert 400_000_000 < usage["memory_max_bytes"] <= 600_000_000
    if "cpu_s" in usage:
        assert 0 < usage["cpu_s"] < 60


def test_all_of_its_processes_share_its_memory(place):
    needs("memory_mb")
    line = f"({MANY_BYTES}) & wait $!; echo $?"
    assert place.run(place.sh(line, memory_mb=50)) == (0, b"137\n", place.output("stderr"))
    assert place.workspace.usage(ONE)["oom_kills"] == 1


def test_too_many_processes_cannot_be_made(place):
    needs("processes")
    line = "for i in 1 2 3 4 5 6 7 8; do sleep 60 & done; echo all"
    code, out, _ = place.run(place.sh(line, processes=5))
    assert (code, out) != (0, b"all\n")
    assert code is not None


def test_enough_processes_are_enough(place):
    needs("processes")
    line = "for i in 1 2 3; do true & done; wait; echo all"
    assert place.run(place.sh(line, processes=5))[:2] == (0, b"all\n")


def test_a_fork_bomb_is_ended_by_a_kill(place):
    needs("processes")
    place.workspace.start(place.sh("bomb() { sleep 60 & bomb & sleep 60; }; bomb", processes=100))
    eventually(lambda: place.workspace.survivors(ONE) > 5)
    place.workspace.signal(ONE, "KILL")
    eventually(lambda: place.workspace.survivors(ONE) == 0)
    place.finish()


ESCAPED = "setsid env -i /bin/sh -c 'echo $$; exec >/dev/null 2>&1; sleep 60' &"


def test_a_kill_finds_what_left_its_session_and_cleared_its_environment(place):
    needs("processes")
    place.workspace.start(place.sh(f"{ESCAPED} wait; sleep 60", processes=50))
    escaped = int(place.said())
    assert place.workspace.survivors(ONE) >= 2
    place.workspace.signal(ONE, "KILL")
    eventually(lambda: gone(escaped))
    place.finish()


def test_the_supervisor_ends_what_left_its_session_and_cleared_its_environment(place):
    needs("memory_mb")
    code, out, _ = place.run(place.sh(f"{ESCAPED} sleep 0.2", memory_mb=100))
    assert code == 0
    assert gone(int(out))


def test_the_group_is_removed_with_the_directory(place):
    needs("memory_mb")
    place.run(place.launch("true", memory_mb=100))
    folders = [Path(line) for line in (place.commands / f"{ONE}/cgroups").read_text().splitlines()]
    assert folders
    assert all(folder.is_dir() for folder in folders)
    place.workspace.clean(ONE)
    place.workspace.clean(ONE)
    assert not any(folder.exists() for folder in folders)


def test_a_group_whose_command_is_gone_is_pruned(place):
    needs("memory_mb")
    place.run(place.launch("true", memory_mb=100))
    parents = cgroups.find()
    left = parents.group(cgroup_prefix(place.commands) + "cmd-gone")
    left.make(memory_mb=100, processes=None)
    place.workspaces.prune()
    assert [group.folders[0].name for group in groups_of(place)] == [
        cgroup_prefix(place.commands) + ONE
    ]


def test_limits_and_an_open_stdin_go_together(place):
    needs("memory_mb", "processes")
    place.workspace.start(place.launch("cat", stdin_open=True, memory_mb=50, processes=2))
    place.workspace.feed(ONE, 0, b"hello")
    place.workspace.close_stdin(ONE)
    place.finish()
    assert place.result() == (0, b"hello", b"")
    assert place.workspace.usage(ONE)["oom_kills"] == 0
