"""A step that takes long, beside others that are not to wait for it."""

import threading

import pytest

from live_stack import wait_for
from rdev.errors import WorkspaceUnavailable
from rdev.services.aside import Aside

ENOUGH_S = 60.0


def test_a_step_that_takes_long_is_not_waited_for_and_not_begun_twice() -> None:
    begun, go_on, ended = [], threading.Event(), threading.Event()

    def step() -> None:
        begun.append(1)
        go_on.wait(ENOUGH_S)
        ended.set()

    aside = Aside(step, wait_s=0.05)
    aside()
    wait_for(lambda: begun)
    aside()
    assert (len(begun), ended.is_set()) == (1, False)
    go_on.set()
    assert ended.wait(ENOUGH_S)


def test_a_step_that_takes_no_time_is_done_each_time_when_the_call_returns() -> None:
    done: list[int] = []
    aside = Aside(lambda: done.append(1), wait_s=ENOUGH_S)
    for count in range(1, 50):
        aside()
        assert len(done) == count


def test_what_it_raises_late_is_raised_once_by_a_later_call() -> None:
    looked, go_on = threading.Event(), threading.Event()

    def step() -> None:
        if not go_on.is_set():
            looked.set()
            go_on.wait(ENOUGH_S)
            raise ValueError("late")

    aside = Aside(step, wait_s=0.05)
    aside()
    assert looked.wait(ENOUGH_S)
    go_on.set()
    assert wait_for(lambda: _raised(aside)) == "late"
    assert _raised(aside) is None


def test_one_that_never_ends_is_told_of() -> None:
    go_on = threading.Event()

    def step() -> None:
        go_on.wait(ENOUGH_S)

    aside = Aside(step, wait_s=0.01, long_s=0.05)
    try:
        with pytest.raises(WorkspaceUnavailable, match="look whether the disk"):
            wait_for(aside)
    finally:
        go_on.set()


def _raised(aside: Aside) -> str | None:
    try:
        aside()
    except ValueError as exc:
        return str(exc)
    return None
