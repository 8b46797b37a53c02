"""A stdin that stays open: each byte once, in order, whoever feeds it."""

import hashlib
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from live_stack import wait_for


def test_what_is_fed_arrives_while_the_command_runs(place):
    place.workspace.start(place.launch("cat", stdin=b"first\n", stdin_open=True))
    assert place.said() == "first"
    assert place.workspace.feed(place.id(), 6, b"second\n") == 13
    wait_for(lambda: place.output("stdout") == b"first\nsecond\n")
    assert place.workspace.feed(place.id(), 13, b"third") == 18
    place.workspace.close_stdin(place.id())
    place.workspace.close_stdin(place.id())
    place.finish()
    assert place.result() == (0, b"first\nsecond\nthird", b"")


def test_what_is_fed_and_closed_before_the_start_arrives(place):
    place.workspace.start(place.launch("cat", stdin_open=True))
    place.feed(b"at once")
    place.workspace.close_stdin(place.id())
    place.finish()
    assert place.result() == (0, b"at once", b"")


def test_a_stdin_that_is_closed_without_a_byte_is_empty(place):
    place.workspace.start(place.launch("cat", stdin_open=True))
    place.workspace.close_stdin(place.id())
    place.finish()
    assert place.result() == (0, b"", b"")


def test_megabytes_of_any_bytes_arrive_whole(place):
    data = random.Random(7).randbytes(5_000_000)
    place.workspace.start(place.launch("sha256sum", stdin_open=True))
    place.feed(data)
    place.workspace.close_stdin(place.id())
    place.finish()
    assert place.output("stdout").split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_pieces_that_come_twice_or_late_or_early_are_taken_once(place):
    place.workspace.start(place.launch("cat", stdin_open=True))
    feed = place.workspace.feed
    assert feed(place.id(), 3, b"def") == 0, "it does not begin at the end"
    assert feed(place.id(), 0, b"abc") == 3
    assert feed(place.id(), 0, b"abc") == 3
    assert feed(place.id(), 0, b"abcdef") == 6
    assert feed(place.id(), 1, b"bc") == 6
    place.workspace.close_stdin(place.id())
    place.finish()
    assert place.output("stdout") == b"abcdef"


def test_several_runners_that_feed_at_once_feed_each_byte_once(place):
    data = random.Random(3).randbytes(400_000)
    place.workspace.start(place.launch("cat", stdin_open=True))
    barrier = threading.Barrier(4)

    def feed(workspace) -> None:
        barrier.wait()
        end: int | None = 0
        while end is not None and end < len(data):
            end = workspace.feed(place.id(), end, data[end : end + 10_000])

    with ExitStack() as stack:
        others = [stack.enter_context(place.of_another()).workspace for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(feed, others))
    place.workspace.close_stdin(place.id())
    place.finish()
    assert place.output("stdout") == data


def test_a_command_that_does_not_read_is_not_fed_without_bound(place):
    go = place.file("go")
    line = f"until [ -e {go} ]; do sleep 0.02; done; wc -c"
    place.workspace.start(place.sh(line, stdin_open=True))
    end, piece = 0, bytes(50_000)

    def full() -> bool:
        nonlocal end
        before = end
        end = place.workspace.feed(place.id(), end, piece) or 0
        return end == before

    wait_for(full)
    assert 50_000 < end < 2_000_000
    place.do(f": >{go}")
    place.feed(bytes(3_000_000 - end), at=end)
    place.workspace.close_stdin(place.id())
    place.finish()
    assert int(place.output("stdout")) == 3_000_000


def test_a_command_that_closed_its_stdin_takes_nothing_more(place):
    place.workspace.start(place.sh("exec <&-; echo closed; sleep 30", stdin_open=True))
    place.said()
    end = 0

    def refused() -> bool:
        nonlocal end
        taken = place.workspace.feed(place.id(), end, bytes(10_000))
        end = end if taken is None else taken
        return taken is None

    wait_for(refused)
    place.workspace.signal(place.id(), "KILL")
    place.finish()


def test_a_feed_after_the_end_goes_nowhere(place):
    place.workspace.start(place.sh("read -r line; echo $line", stdin_open=True))
    place.feed(b"hello\n")
    place.finish()
    wait_for(lambda: place.workspace.feed(place.id(), 6, b"more") is None)
    place.workspace.close_stdin(place.id())
    assert place.result() == (0, b"hello\n", b"")


def test_runners_that_race_to_start_it_feed_one_leader(place):
    launch = place.launch("cat", stdin=b"0123456789", stdin_open=True)
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        place.workspace.start(launch)

    with ThreadPoolExecutor(8) as pool:
        for started in [pool.submit(start) for _ in range(8)]:
            started.result()
    place.feed(b"abc" * 50_000, at=10, piece=7000)
    place.workspace.close_stdin(place.id())
    place.finish()
    assert place.output("stdout") == b"0123456789" + b"abc" * 50_000
