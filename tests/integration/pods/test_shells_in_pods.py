"""The shell that is kept open in a pod, when it is closed, stopped, or has to read too much."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from command_ids import ONE
from integration.pods.running import Running, keeping
from live_stack import wait_for
from rdev.adapters.workspaces.kubernetes.access import Access
from rdev.adapters.workspaces.kubernetes.exec import Execs
from rdev.adapters.workspaces.kubernetes.pod_ref import PodRef
from rdev.adapters.workspaces.kubernetes.pod_shell import Place, PodShell
from rdev.adapters.workspaces.kubernetes.pod_talk import Unanswered
from rdev.errors import WorkspaceUnavailable, WorkspaceUnfit
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
        shell.ask("poll", ONE, bytes_back=True)
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
        shell.ask("poll", ONE, bytes_back=True)
    assert running.there.execs == before


def test_one_finds_out_that_nobody_answers_for_all_who_ask_at_once_and_for_nobody_later(running):
    running.create()
    execs = Execs(Access(running.kubeconfig).client, None, ping_s=0.3, silence_s=1)
    ref = PodRef(NAMESPACE, running.pod, "", "workspace", "")
    shell = PodShell(execs, ref, Place("/data/commands", "/data/workspace"), drain_s=0.1)
    before, running.there.exec_frozen = running.there.execs, True
    asking = [threading.Thread(target=_enter_in_vain, args=(shell, 60)) for _ in range(3)]
    with shell._lock:
        for each in asking:
            each.start()
        time.sleep(0.2)  # nothing tells that all of them wait
    for each in asking:
        each.join(60)
    running.there.exec_frozen = False
    assert running.there.execs == before + 1
    assert shell.there().home == "/data/workspace"
    shell.close()
    execs.close()


def test_one_that_had_little_time_does_not_tell_others_that_nobody_answers(running, shell):
    before = len(running.there.wires)
    running.there.exec_frozen = True
    hasty = threading.Thread(target=_enter_in_vain, args=(shell, 3))
    hasty.start()
    wait_for(lambda: len(running.there.wires) > before)
    found: list[str] = []
    patient = threading.Thread(target=lambda: found.append(shell.there().home))
    patient.start()
    time.sleep(0.2)  # nothing tells that it waits
    running.there.exec_frozen = False
    for each in (hasty, patient):
        each.join(60)
    assert found == ["/data/workspace"]


def test_all_who_ask_a_pod_without_a_shell_at_once_are_told_so(running):
    running.put(keeping("no-shell"))
    execs = Execs(Access(running.kubeconfig).client, None)
    ref = PodRef(NAMESPACE, running.pod, "", "app", "")
    shell = PodShell(execs, ref, Place("/data/commands", "/data/workspace"), drain_s=0.1)
    told: list[str] = []

    def ask() -> None:
        with pytest.raises(WorkspaceUnfit) as unfit:
            shell.there()
        told.append(unfit.value.reason)

    asking = [threading.Thread(target=ask) for _ in range(3)]
    with shell._lock:
        for each in asking:
            each.start()
        time.sleep(0.2)  # nothing tells that all of them wait
    for each in asking:
        each.join(60)
    execs.close()
    assert told == ["no_shell"] * 3


def test_one_that_was_stopped_is_killed_and_replaced(running, shell):
    shell.there()
    wait_for(lambda: len(agents(running)) == 1)  # it begins with a clean-up beside it
    (stopped,) = agents(running)
    os.kill(stopped, signal.SIGSTOP)
    with pytest.raises(Unanswered):
        shell.ask("look", ONE, timeout_s=0.5)
    assert shell.ask("look", ONE).lines == ()
    wait_for(lambda: stopped not in agents(running))


@pytest.mark.parametrize("name", ["{0}/exit", "{0}/refused", "{0}/pod", ".tokens/{0}", ".life"])
def test_one_that_reads_a_file_without_end_is_killed_and_replaced(running, shell, name):
    shell.there()
    commands = running.root("/data/commands")
    (commands / ONE).mkdir()
    (commands / f"{ONE}/out").write_bytes(b"hello")
    before = agents(running)
    endless = commands / name.format(ONE)
    endless.write_bytes(b"")
    os.truncate(endless, 1 << 38)
    for _ in range(2):  # it may have been asked to be more careful for another reason
        with suppress(WorkspaceUnavailable):
            shell.ask("look", ONE, timeout_s=0.5)
    shell.ask("look", ONE)
    assert shell.ask("read", ONE, "out", 0, 9, bytes_back=True).data == b"hello"
    wait_for(lambda: not before & agents(running))


def agents(running: Running) -> set[int]:
    """The shells that answer in its pod, by their process ids here."""
    first = running.there.lives[running.pod].container.pid
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            argv = (place / "cmdline").read_bytes().split(b"\0")
            if argv[:3] == [b"sh", b"-s", b"/data/commands"] and _pids_of(place.name) == _pids_of(
                first
            ):
                found.add(int(place.name))
    return found


def _pids_of(pid: object) -> Path:
    return Path(f"/proc/{pid}/ns/pid").readlink()


def _ask_in_vain(shell: PodShell) -> None:
    with pytest.raises(WorkspaceUnavailable):
        shell.ask("poll", ONE, bytes_back=True, timeout_s=1)


def _enter_in_vain(shell: PodShell, timeout_s: float) -> None:
    with pytest.raises(WorkspaceUnavailable):
        shell.there(timeout_s)
