"""A stdin that stays open: each byte once, in order, whoever feeds it and whatever dies."""

import hashlib
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from integration.workspaces.place import DEADLINE_S, DRAIN_S, Place, eventually, gone
from rdev.adapters.workspaces.local import LocalWorkspaces
from rdev.adapters.workspaces.stdin_file import MOST_UNREAD_BYTES
from rdev.ports import Liveness


def feed_all(place: Place, data: bytes, at: int = 0, piece: int = 100_000) -> None:
    """Feed as a runner does: from where it ends, as much as is taken."""
    end, deadline = at, time.monotonic() + DEADLINE_S
    while end < at + len(data):
        offset = end - at
        taken = place.workspace.feed("cmd-1", end, data[offset : offset + piece])
        assert taken is not None
        if taken == end:
            assert time.monotonic() < deadline, "nobody reads"
            time.sleep(0.005)
        end = taken


def test_what_is_fed_arrives_while_the_command_runs(place):
    place.workspace.start(place.launch("cat", stdin=b"first\n", stdin_open=True))
    assert place.said() == "first"
    assert place.workspace.feed("cmd-1", 6, b"second\n") == 13
    eventually(lambda: place.output("stdout") == b"first\nsecond\n")
    assert place.workspace.feed("cmd-1", 13, b"third") == 18
    place.workspace.close_stdin("cmd-1")
    place.workspace.close_stdin("cmd-1")
    place.finish()
    assert place.result() == (0, b"first\nsecond\nthird", b"")


def test_what_is_fed_and_closed_before_the_start_arrives(place):
    launch = place.launch("cat", stdin_open=True)
    place.workspace.start(launch)
    feed_all(place, b"at once")
    place.workspace.close_stdin("cmd-1")
    place.finish()
    assert place.result() == (0, b"at once", b"")


def test_a_stdin_that_is_closed_without_a_byte_is_empty(place):
    place.workspace.start(place.launch("cat", stdin_open=True))
    place.workspace.close_stdin("cmd-1")
    place.finish()
    assert place.result() == (0, b"", b"")


def test_megabytes_of_any_bytes_arrive_whole(place):
    data = random.Random(7).randbytes(5_000_000)
    place.workspace.start(place.launch("sha256sum", stdin_open=True))
    feed_all(place, data)
    place.workspace.close_stdin("cmd-1")
    place.finish()
    assert place.output("stdout").split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_pieces_that_come_twice_or_late_or_early_are_taken_once(place):
    place.workspace.start(place.launch("cat", stdin_open=True))
    assert place.workspace.feed("cmd-1", 3, b"def") == 0, "it does not begin at the end"
    assert place.workspace.feed("cmd-1", 0, b"abc") == 3
    assert place.workspace.feed("cmd-1", 0, b"abc") == 3
    assert place.workspace.feed("cmd-1", 0, b"abcdef") == 6
    assert place.workspace.feed("cmd-1", 1, b"bc") == 6
    place.workspace.close_stdin("cmd-1")
    place.finish()
    assert place.output("stdout") == b"abcdef"


def test_several_runners_that_feed_at_once_feed_each_byte_once(place, shell):
    data = random.Random(3).randbytes(400_000)
    place.workspace.start(place.launch("cat", stdin_open=True))
    others = [
        LocalWorkspaces(place.root.parent, place.commands.parent, drain_s=DRAIN_S, shell=shell)
        for _ in range(4)
    ]
    barrier = threading.Barrier(4)

    def feed(workspaces: LocalWorkspaces) -> None:
        barrier.wait()
        end: int | None = 0
        while end is not None and end < len(data):
            end = workspaces.of("demo").feed("cmd-1", end, data[end : end + 1000])

    try:
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(feed, each) for each in others]:
                done.result()
        place.workspace.close_stdin("cmd-1")
        place.finish()
        assert place.output("stdout") == data
    finally:
        for each in others:
            each.close()


def test_a_command_that_does_not_read_is_not_fed_without_bound(place):
    go = place.root / "go"
    line = f"until [ -e {go} ]; do sleep 0.02; done; wc -c"
    place.workspace.start(place.sh(line, stdin_open=True))
    end, piece = 0, bytes(50_000)

    def full() -> bool:
        nonlocal end
        before = end
        end = place.workspace.feed("cmd-1", end, piece) or 0
        return end == before

    eventually(full)
    assert MOST_UNREAD_BYTES <= end < 4 * MOST_UNREAD_BYTES
    go.touch()
    feed_all(place, bytes(3_000_000 - end), at=end)
    place.workspace.close_stdin("cmd-1")
    place.finish()
    assert int(place.output("stdout")) == 3_000_000


def test_a_command_that_closed_its_stdin_takes_nothing_more(place):
    place.workspace.start(place.sh("exec <&-; echo closed; sleep 30", stdin_open=True))
    place.said()
    end = 0

    def refused() -> bool:
        nonlocal end
        taken = place.workspace.feed("cmd-1", end, bytes(10_000))
        end = end if taken is None else taken
        return taken is None

    eventually(refused)
    place.workspace.signal("cmd-1", "KILL")
    place.finish()


def test_the_feeder_ends_with_the_leader_and_is_no_child_of_it(place):
    line = 'ps -o pid= --ppid $$ | grep -vw "$$" | wc -l; read -r go'
    place.workspace.start(place.sh(line, stdin_open=True))
    assert int(place.said()) <= 3, "ps, grep and wc"
    feeder = feeder_of(place)
    place.workspace.feed("cmd-1", 0, b"go\n")
    place.finish()
    eventually(lambda: gone(feeder))


def test_a_descendant_that_reads_on_ends_and_so_does_the_feeder(place):
    place.workspace.start(place.sh("exec 3<&0; sleep 60 <&3 & echo begun", stdin_open=True))
    place.said()
    place.workspace.feed("cmd-1", 0, bytes(200_000))
    place.finish()
    feeder = feeder_of(place)
    eventually(lambda: gone(feeder))


def test_a_killed_supervisor_does_not_interrupt_the_input(place):
    place.workspace.start(place.launch("cat", stdin_open=True))
    place.workspace.feed("cmd-1", 0, b"one\n")
    place.said()
    feeder, supervisor = feeder_of(place), supervisor_of(place)
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: gone(supervisor))
    place.workspace.feed("cmd-1", 4, b"two\n")
    eventually(lambda: place.output("stdout") == b"one\ntwo\n")
    place.workspace.close_stdin("cmd-1")
    assert place.until_over() is Liveness.DEAD
    eventually(lambda: gone(feeder))


def test_cleaning_up_ends_a_feeder_that_was_left_alone(place):
    place.workspace.start(place.launch("sleep", "60", stdin_open=True))
    eventually((place.commands / "cmd-1/feeder").exists)
    feeder = feeder_of(place)
    os.kill(supervisor_of(place), signal.SIGKILL)
    place.workspace.signal("cmd-1", "KILL")
    place.workspace.clean("cmd-1")
    eventually(lambda: gone(feeder))
    assert place.workspace.feed("cmd-1", 0, b"x") is None


def test_a_refused_start_leaves_no_feeder(place):
    place.workspace.start(place.launch("no-such-program", stdin_open=True))
    place.finish()
    assert place.workspace.refusal("cmd-1") is not None
    feeder = feeder_of(place)
    eventually(lambda: gone(feeder))


def test_racing_supervisors_feed_one_leader(place):
    launch = place.launch("cat", stdin=b"0123456789", stdin_open=True)
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        place.workspace.start(launch)

    with ThreadPoolExecutor(8) as pool:
        for started in [pool.submit(start) for _ in range(8)]:
            started.result()
    feed_all(place, b"abc" * 50_000, at=10, piece=7000)
    place.workspace.close_stdin("cmd-1")
    place.finish()
    assert place.output("stdout") == b"0123456789" + b"abc" * 50_000


@pytest.mark.parametrize("use_inotify", [True, False])
def test_a_wait_ends_when_it_is_woken(one_place, use_inotify):
    workspaces = LocalWorkspaces(
        one_place.root.parent, one_place.commands.parent, drain_s=DRAIN_S, use_inotify=use_inotify
    )
    try:
        workspace = workspaces.of("demo")
        workspace.start(one_place.launch("sleep", "60"))
        eventually(lambda: workspace.liveness("cmd-1") is Liveness.RUNNING)
        for _ in range(3):
            workspace.wait("cmd-1", 0.1)
        waiting = threading.Thread(target=workspace.wait, args=("cmd-1", DEADLINE_S * 2))
        waiting.start()
        deadline = time.monotonic() + DEADLINE_S
        while waiting.is_alive():
            assert time.monotonic() < deadline
            workspace.wake("cmd-1")
            waiting.join(0.05)
    finally:
        workspaces.close()


def feeder_of(place: Place) -> int:
    path = place.commands / "cmd-1/feeder"
    eventually(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text().partition(":")[0])


def supervisor_of(place: Place) -> int:
    token = Path(place.commands / ".tokens/cmd-1")
    eventually(lambda: token.exists() and token.read_text().endswith("\n"))
    return int(token.read_text().split(":")[2])
