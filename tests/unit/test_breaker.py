"""A circuit breaker: when it refuses, what it takes for an answer, and whose clock it goes by."""

import threading

import pytest

from rdev.breaker import Breaker
from rdev.errors import SegmentDamaged, StoreUnavailable


def refusal(pause_s: int) -> StoreUnavailable:
    return StoreUnavailable("It is left alone.", retry_after_s=pause_s)


def breaker_of(failures: int = 2, pause_s: float = 3600) -> Breaker:
    return Breaker(StoreUnavailable, refusal, failures=failures, pause_s=pause_s)


def failing() -> None:
    raise StoreUnavailable("It does not answer.")


def opened(pause_s: float) -> Breaker:
    breaker = breaker_of(pause_s=pause_s)
    for _ in range(2):
        assert (breaker.state, breaker.refuses) == ("closed", False)
        with pytest.raises(StoreUnavailable, match="does not answer"):
            breaker.call(failing)
    return breaker


def test_it_refuses_after_failures_in_a_row() -> None:
    breaker, called = opened(pause_s=3600), []
    assert (breaker.state, breaker.refuses) == ("open", True)
    with pytest.raises(StoreUnavailable, match="left alone") as refused:
        breaker.call(lambda: called.append(1))
    assert called == []
    assert refused.value.retry_after_s == 3600


def test_it_stays_open_for_its_pause_by_its_own_clock_alone() -> None:
    """A machine's clock that is set back, or forward, changes nothing."""
    at = [100.0]
    breaker = Breaker(StoreUnavailable, refusal, failures=1, pause_s=10, now=lambda: at[0])
    with pytest.raises(StoreUnavailable, match="does not answer"):
        breaker.call(failing)
    for at[0], refuses in ((100.0, True), (109.9, True), (110.0, False)):
        assert breaker.refuses is refuses
    with pytest.raises(StoreUnavailable, match="does not answer"):
        breaker.call(failing)
    for at[0], refuses in ((119.9, True), (120.0, False)):
        assert breaker.refuses is refuses
    assert breaker.call(lambda: 1) == 1
    assert breaker.state == "closed"


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = breaker_of()
    for _ in range(5):
        with pytest.raises(StoreUnavailable, match="does not answer"):
            breaker.call(failing)
        breaker.call(lambda: None)
    assert breaker.state == "closed"


def test_it_lets_one_try_through_and_closes_with_its_success() -> None:
    breaker, inside, go = opened(pause_s=0), threading.Event(), threading.Event()
    assert (breaker.state, breaker.refuses) == ("half-open", False)

    def slow() -> None:
        inside.set()
        go.wait(60)

    trying = threading.Thread(target=breaker.call, args=(slow,))
    trying.start()
    inside.wait(60)
    assert breaker.refuses
    with pytest.raises(StoreUnavailable, match="left alone"):
        breaker.call(lambda: None)
    go.set()
    trying.join()
    assert breaker.state == "closed"


def test_a_damaged_segment_is_an_answer() -> None:
    breaker = breaker_of(failures=1)

    def damaged() -> None:
        raise SegmentDamaged("it cannot be decompressed")

    with pytest.raises(SegmentDamaged):
        breaker.call(damaged)
    assert breaker.state == "closed"


def test_what_went_another_way_is_counted_too() -> None:
    breaker = breaker_of()
    breaker.note(failed=True)
    breaker.note(failed=False)
    breaker.note(failed=True)
    assert breaker.state == "closed"
    breaker.note(failed=True)
    assert breaker.state == "open"
    breaker.note(failed=False)  # it began before that
    assert breaker.state == "open"
