"""In each life of a pod process ids are counted from 1 again: those of the life before are those of
others."""

import pytest

from integration.pods.running import Running
from live_stack import wait_for
from rdev.domain.commands import Launch
from rdev.errors import WorkspaceUnavailable
from rdev.ports import Liveness

TOKENS = "/data/commands/.tokens"


def begin(running: Running, command_id: str) -> str:
    """A command that runs; its start token."""
    running.await_running()
    workspace = running.workspaces.of(running.project)

    def runs() -> bool:
        try:
            workspace.start(Launch(command_id, running.project, ("sleep", "600"), {}, ".", b""))
            return workspace.liveness(command_id) is Liveness.RUNNING
        except WorkspaceUnavailable:  # its container is being started anew
            return False

    wait_for(runs)
    return running.reads(command_id, TOKENS)


@pytest.mark.parametrize("name", ["KILL", "TERM"])
def test_a_command_of_the_life_before_has_no_part_in_the_process_of_its_id(running, name):
    running.create()
    old = begin(running, "cmd-old")
    running.there.kill(running.pod)
    new = begin(running, "cmd-new")
    of_new, _, _ = new.partition(":")
    _, _, rest = old.partition(":")
    (running.root(TOKENS) / "cmd-old").write_text(f"{of_new}:{rest}")
    workspace = running.workspaces.of(running.project)
    assert workspace.survivors("cmd-old") == 0
    workspace.signal("cmd-old", name)
    assert workspace.liveness("cmd-old") is Liveness.DEAD
    assert workspace.survivors("cmd-new") > 0
    assert workspace.liveness("cmd-new") is Liveness.RUNNING
    assert workspace.exit("cmd-new") is None
