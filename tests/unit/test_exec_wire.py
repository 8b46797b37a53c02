"""A socket that many share: what is written stays whole, what is read is bounded, and ends end."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from rdev.adapters.workspaces.kubernetes.exec_wire import Wire, WireBroken

LONG_S = 30
BIG = bytes(range(256)) * 40_000


def soon() -> float:
    return time.monotonic() + 0.05


def late() -> float:
    return time.monotonic() + LONG_S


@pytest.fixture
def ends() -> Iterator[tuple[Wire, socket.socket]]:
    ours, theirs = socket.socketpair()
    with theirs:
        wire = Wire(ours)
        yield wire, theirs
        wire.break_off("the test is over")


def all_of(theirs: socket.socket) -> bytes:
    got = bytearray()
    while data := theirs.recv(1 << 20):
        got += data
    return bytes(got)


def test_after_what_was_not_written_in_time_nothing_is_written(ends):
    wire, theirs = ends
    with pytest.raises(TimeoutError):
        wire.write(BIG, soon())
    first = theirs.recv(1 << 20)
    wire.tell(b"ping")  # there is room now
    with pytest.raises(WireBroken):
        wire.write(b"more", late())
    wire.break_off("done")
    got = first + all_of(theirs)
    assert BIG.startswith(got)
    assert len(got) < len(BIG)


def test_what_is_told_meanwhile_goes_behind_what_is_being_written(ends):
    wire, theirs = ends
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(wire.write, BIG, late())
        first = theirs.recv(1)
        wire.tell(b"ping")
        got = bytearray(first)
        while len(got) < len(BIG) + 4:
            got += theirs.recv(1 << 20)
        writing.result(LONG_S)
    assert bytes(got) == BIG + b"ping"


def test_what_cannot_be_told_is_bounded(ends):
    wire, theirs = ends
    with pytest.raises(TimeoutError):
        wire.write(BIG, soon())
    for _ in range(100_000):
        wire.tell(b"ping")
    assert len(wire._control) < 5000
    assert theirs.recv(1)


def test_looking_reads_ahead_so_far_and_no_further(ends):
    wire, theirs = ends
    theirs.setblocking(False)
    sent = 0
    for _ in range(1000):
        wire.look()
        try:
            sent += theirs.send(BIG[:65536])
        except BlockingIOError:
            continue
    assert sent < 4 << 20
    got = bytearray()
    while len(got) < sent:
        got += wire.read(1 << 20, late())
    assert len(got) == sent


def test_looking_at_one_that_hung_up_loses_no_last_words(ends):
    wire, theirs = ends
    theirs.sendall(b"last words")
    theirs.close()
    for _ in range(3):
        wire.look()
    assert wire.read(4, late()) == b"last"
    assert wire.read(100, late()) == b" words"
    with pytest.raises(WireBroken, match="hung up"):
        wire.read(1, late())


def test_what_cannot_be_written_any_more_can_still_be_read(ends):
    wire, theirs = ends
    theirs.sendall(b"last words")
    theirs.close()
    with pytest.raises(WireBroken):
        wire.write(BIG, late())
    assert wire.read(100, late()) == b"last words"


def test_any_byte_is_a_sign_of_life_for_whoever_looks(ends):
    wire, theirs = ends
    before = wire.heard
    wire.look()
    assert wire.heard == before
    theirs.sendall(b"x")
    wire.look()
    assert wire.heard > before


@pytest.mark.parametrize("doing", ["read", "write"])
def test_breaking_it_off_wakes_whoever_waits_and_then_it_is_closed(ends, doing):
    wire, theirs = ends
    waits = threading.Event()

    def wait() -> None:
        waits.set()
        if doing == "read":
            wire.read(1, late())
        else:
            wire.write(BIG, late())

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        waits.wait(LONG_S)
        wire.break_off("enough")
        wire.break_off("too late to say")
        with pytest.raises(WireBroken, match="enough"):
            waiting.result(LONG_S)
    assert BIG.startswith(all_of(theirs)), "the other side reads the end"
    for act in (lambda: wire.read(1, late()), lambda: wire.write(b"x", late())):
        with pytest.raises(WireBroken, match="enough"):
            act()
    wire.look()
    wire.tell(b"x")
