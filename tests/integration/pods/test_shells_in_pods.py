"""The shell that is kept open in a pod, when it is closed, stopped, or has to read too much."""

import threading
import time
from collections.abc import Iterator

import pytest

from integration.pods.running import Running
from live_stack import wait_for
from rdev.adapters.workspaces.kubernetes.access import Access
from rdev.adapters.workspaces.kubernetes.exec import Execs
from rdev.adapters.workspaces.kubernetes.pod_ref import PodRef
from rdev.adapters.workspaces.kubernetes.pod_shell import Place, PodShell
from rdev.errors import WorkspaceUnavailable
from small_cluster import NAMESPACE


@pytest.fixture
def shell(running: Running) -> Iterator[PodShell]:
    running.create()
    execs = Execs(Access(running.kubeconfig).client, None)
    ref = PodRef(NAMESPACE, running.pod, "", "workspace", "")
    shell = PodShell(execs, ref, Place("/data/commands", "/data/workspace"), drain_s=0.1)
    yield shell
    shell.close()
    execs.close()


def test_one_that_was_closed_is_not_opened_again_by_who_still_has_it(running, shell):
    assert shell.there().home == "/data/workspace"
    shell.close()
    wait_for(lambda: not running.there.wires)
    with pytest.raises(WorkspaceUnavailable, match="closed"):
        shell.ask("poll", "cmd-1", bytes_back=True)
    assert not running.there.wires


def test_closing_one_that_is_busy_waits_for_nobody_and_leaves_no_connection(running, shell):
    shell.there()
    running.there.freeze_execs()
    asking = threading.Thread(target=_ask_in_vain, args=(shell,))
    asking.start()
    time.sleep(0.2)  # nothing tells that it has begun to wait
    shell.close()
    asking.join(60)
    before = running.there.execs
    with pytest.raises(WorkspaceUnavailable, match="closed"):
        shell.ask("poll", "cmd-1", bytes_back=True)
    assert running.there.execs == before


def _ask_in_vain(shell: PodShell) -> None:
    with pytest.raises(WorkspaceUnavailable):
        shell.ask("poll", "cmd-1", bytes_back=True, timeout_s=1)
