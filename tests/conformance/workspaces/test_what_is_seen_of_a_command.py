"""What a workspace tells of a command: its bytes, its end, and that something may have changed."""

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from live_stack import wait_for
from rdev.domain.commands import Exit
from rdev.ports import Liveness


def test_output_goes_where_it_belongs_and_the_exit_code_is_true(place):
    assert place.run(place.sh("echo out; echo err >&2; exit 7")) == (7, b"out\n", b"err\n")


@pytest.mark.parametrize("code", [0, 1, 126, 127, 128, 137, 255])
def test_each_exit_code_is_kept(place, code):
    assert place.run(place.sh(f"exit {code}")) == (code, b"", b"")


@pytest.mark.parametrize(("name", "code"), [("TERM", 143), ("INT", 130), ("SEGV", 139)])
def test_a_signal_is_128_and_its_number(place, name, code):
    assert place.run(place.sh(f"kill -{name} $$"))[0] == code


def test_bytes_stay_as_they_are(place):
    line = r"printf '\000\377\376\n\r\001'; printf '\360\237' >&2"
    assert place.run(place.sh(line)) == (0, b"\0\xff\xfe\n\r\x01", b"\xf0\x9f")


def test_every_byte_there_is_comes_back(place):
    data = bytes(range(256)) * 4000
    code, out, err = place.run(place.sh("cat >f; cat f; cat f >&2; rm f", stdin=data))
    assert (code, out == data, err == data) == (0, True, True)


def test_large_output_is_whole_at_the_end(place):
    line = "head -c 5000000 /dev/zero | tr '\\0' x; head -c 1000000 /dev/zero >&2"
    code, out, err = place.run(place.sh(line))
    assert code == 0
    assert hashlib.sha256(out).digest() == hashlib.sha256(b"x" * 5_000_000).digest()
    assert err == bytes(1_000_000)


def test_output_is_read_from_anywhere_as_often_as_one_likes(place):
    place.run(place.sh("printf 0123456789; printf abc >&2"))
    read = place.workspace.read
    for _ in range(2):
        assert read(place.id(), "stdout", 0, 4) == b"0123"
        assert read(place.id(), "stdout", 4, 100) == b"456789"
        assert read(place.id(), "stdout", 9, 1) == b"9"
        assert read(place.id(), "stdout", 10, 100) == b""
        assert read(place.id(), "stdout", 1000, 100) == b""
        assert read(place.id(), "stderr", 1, 100) == b"bc"


def test_of_a_command_that_nobody_knows_there_is_nothing(place):
    workspace = place.workspace
    assert workspace.liveness(place.id()) is Liveness.UNKNOWN
    assert workspace.exit(place.id()) is None
    assert workspace.refusal(place.id()) is None
    assert workspace.read(place.id(), "stdout", 0, 100) == b""
    assert workspace.survivors(place.id()) == 0
    assert workspace.usage(place.id()) == {}
    assert workspace.feed(place.id(), 0, b"x") is None


def test_output_is_read_while_it_is_written(place):
    go = place.file("go")
    place.workspace.start(place.sh(f"echo one; until [ -e {go} ]; do sleep 0.05; done; echo two"))
    assert place.said() == "one"
    assert place.workspace.liveness(place.id()) is Liveness.RUNNING
    assert place.workspace.exit(place.id()) is None
    place.do(f": >{go}")
    place.finish()
    assert place.workspace.read(place.id(), "stdout", 4, 100) == b"two\n"
    assert place.workspace.exit(place.id()) == Exit(0)


def test_a_wait_ends_with_its_time_and_when_it_is_woken(place):
    place.workspace.start(place.launch("sleep", "100"))
    wait_for(lambda: place.workspace.liveness(place.id()) is Liveness.RUNNING)
    for _ in range(3):
        place.workspace.wait(place.id(), 0.1)
    waiting = threading.Thread(target=place.workspace.wait, args=(place.id(), 100.0))
    waiting.start()
    deadline = time.monotonic() + 60
    while waiting.is_alive():
        assert time.monotonic() < deadline
        place.workspace.wake(place.id())
        waiting.join(0.05)


def test_many_at_once_do_not_mix(place):
    """More than a runner has slots for, each with its own output, code and folder."""

    def one(number: int) -> None:
        line = f"echo {number}; head -c 100000 /dev/zero >&2; exit {number}"
        seen = place.run(place.sh(line, which=f"-{number}"))
        assert seen == (number, f"{number}\n".encode(), bytes(100_000))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(32)))


def test_another_runner_sees_the_same_and_goes_on(place):
    """As after a runner's death: what it started is followed by another, which knows nothing."""
    go = place.file("go")
    line = f"echo one; until [ -e {go} ]; do sleep 0.05; done; echo two; exit 3"
    with place.of_another() as dead:
        dead.workspace.start(dead.sh(line))
        assert dead.said() == "one"
    assert place.workspace.liveness(place.id()) is Liveness.RUNNING
    assert place.output("stdout") == b"one\n"
    place.do(f": >{go}")
    place.finish()
    assert place.result() == (3, b"one\ntwo\n", b"")
    with place.of_another() as later:
        assert later.workspace.liveness(place.id()) is Liveness.ENDED
        assert later.result() == place.result()
