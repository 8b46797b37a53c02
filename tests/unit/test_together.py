"""Calls that come at the same time share one, and nothing else."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from live_stack import wait_for
from rdev.errors import StoreUnavailable
from rdev.together import Together


class Store:
    """Answers each number with its double, and holds each call until it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.gate = threading.Semaphore(0)
        self.fails: BaseException | None = None

    def __call__(self, asked: Sequence[int]) -> list[int]:
        self.calls.append(list(asked))
        assert self.gate.acquire(timeout=60)
        if self.fails is not None:
            fails, self.fails = self.fails, None
            raise fails
        return [2 * each for each in asked]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def crowd():
    with ThreadPoolExecutor(40) as pool:
        yield pool


def queue_up(
    together: Together[int, int], store: Store, crowd: ThreadPoolExecutor, count: int
) -> list["Future[int]"]:
    """One that is asked for, and so many that came meanwhile."""
    futures = [crowd.submit(together, 0)]
    wait_for(lambda: store.calls)
    futures += [crowd.submit(together, number) for number in range(1, count + 1)]
    wait_for(lambda: len(together._waiting) == count)
    return futures


def told(futures: "list[Future[int]]") -> list[object]:
    errors = [future.exception(60) for future in futures]
    return [
        future.result() if error is None else type(error)
        for future, error in zip(futures, errors, strict=True)
    ]


def test_a_lone_call_is_asked_by_itself(store: Store) -> None:
    store.gate.release(2)
    together = Together(store, timeout_s=60)
    assert [together(1), together(2)] == [2, 4]
    assert store.calls == [[1], [2]]


def test_what_comes_meanwhile_is_asked_in_one_call(store: Store, crowd: ThreadPoolExecutor) -> None:
    futures = queue_up(Together(store, timeout_s=60), store, crowd, 20)
    store.gate.release(2)
    assert told(futures) == [2 * number for number in range(21)]
    assert [len(call) for call in store.calls] == [1, 20]


def test_no_call_is_answered_by_what_was_asked_before_it_came(crowd: ThreadPoolExecutor) -> None:
    now, lock = 0, threading.Lock()

    def look(asked: Sequence[None]) -> list[int]:
        with lock:
            return [now] * len(asked)

    together = Together(look, timeout_s=60)

    def change_and_look() -> bool:
        nonlocal now
        for _ in range(200):
            with lock:
                now += 1
                mine = now
            if together(None) < mine:
                return False
        return True

    looking = [crowd.submit(change_and_look) for _ in range(8)]
    assert all(each.result(60) for each in looking)


def test_no_more_are_asked_at_once_than_may_be(store: Store, crowd: ThreadPoolExecutor) -> None:
    futures = queue_up(Together(store, timeout_s=60, most=8), store, crowd, 20)
    store.gate.release(4)
    assert told(futures) == [2 * number for number in range(21)]
    assert [len(call) for call in store.calls] == [1, 8, 8, 4]


def test_an_error_is_that_of_all_who_asked_together_and_of_nobody_else(
    store: Store, crowd: ThreadPoolExecutor
) -> None:
    store.fails = LookupError()
    futures = queue_up(Together(store, timeout_s=60), store, crowd, 3)
    store.gate.release(2)
    assert told(futures) == [LookupError, 2, 4, 6]


def test_with_a_lost_store_nobody_waits_for_it_twice(
    store: Store, crowd: ThreadPoolExecutor
) -> None:
    store.fails = StoreUnavailable("gone")
    together = Together(store, timeout_s=60)
    futures = queue_up(together, store, crowd, 3)
    store.gate.release()
    assert told(futures) == [StoreUnavailable] * 4
    store.gate.release()
    assert together(1) == 2


def test_the_end_of_who_asks_is_not_the_end_of_the_others(
    store: Store, crowd: ThreadPoolExecutor
) -> None:
    together = Together(store, timeout_s=60)
    futures = queue_up(together, store, crowd, 2)
    store.gate.release()
    wait_for(lambda: len(store.calls) == 2)
    store.fails = SystemExit()
    more = crowd.submit(together, 3)
    wait_for(lambda: together._waiting)
    store.gate.release(2)
    ended = told(futures)
    assert ended[0] == 0
    assert sorted(map(str, ended[1:])) == sorted(map(str, [SystemExit, StoreUnavailable]))
    assert more.result(60) == 6


def test_who_waits_too_long_is_told_so_and_stands_in_nobodys_way(
    store: Store, crowd: ThreadPoolExecutor
) -> None:
    together = Together(store, timeout_s=0.05)
    first = crowd.submit(together, 1)
    wait_for(lambda: store.calls)
    with pytest.raises(StoreUnavailable, match="wait"):
        together(2)
    assert not together._waiting
    store.gate.release(2)
    assert first.result(60) == 2
    assert together(3) == 6


def test_thousands_of_calls_from_many_threads_get_their_own_answers(
    crowd: ThreadPoolExecutor,
) -> None:
    together: Together[int, int] = Together(lambda asked: [2 * n for n in asked], timeout_s=60)

    def own(start: int) -> bool:
        return all(together(n) == 2 * n for n in range(start, start + 500))

    assert all(crowd.map(own, range(0, 16_000, 500)))
