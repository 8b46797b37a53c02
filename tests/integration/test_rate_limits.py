"""The sliding window: never one too many in any second, in Python and inside the real Valkey."""

import threading
import time
from importlib.resources import files

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from key_service import gate_at
from rdev.domain.rate_limits import SlidingWindow

STEPS = st.lists(st.integers(0, 400), min_size=1, max_size=80)
START_MS = 1_800_000_000_000


def most_in_a_second(times_ms: list[int]) -> int:
    return max((sum(t <= u < t + 1000 for u in times_ms) for t in times_ms), default=0)


@given(st.integers(1, 12), STEPS)
def test_no_second_holds_one_too_many(limit: int, steps: list[int]) -> None:
    window, now, let_through = SlidingWindow(), START_MS, []
    for step in steps:
        now += step
        if window.take(limit, now).allowed:
            let_through.append(now)
    assert most_in_a_second(let_through) <= limit


@given(st.integers(1, 12), STEPS)
def test_whoever_waits_as_long_as_told_is_let_through(limit: int, steps: list[int]) -> None:
    window, now = SlidingWindow(), START_MS
    for step in steps:
        now += step
        said = window.take(limit, now)
        assert (said.remaining == 0) or said.allowed
        assert 1 <= said.reset_ms <= 1050
        if not said.allowed:
            assert said.retry_ms <= said.reset_ms
            now += said.retry_ms
            assert window.take(limit, now).allowed


@given(st.lists(st.integers(-3000, 400), min_size=1, max_size=80))
def test_a_clock_that_is_put_back_lets_nothing_more_through(steps: list[int]) -> None:
    window, now, true_ms, let_through = SlidingWindow(), START_MS, START_MS, []
    for step in steps:
        now += step
        true_ms += max(step, 0)  # time itself goes on, or stands still
        if window.take(5, now).allowed:
            let_through.append(true_ms)
    assert most_in_a_second(let_through) <= 5


@settings(max_examples=60)
@given(st.integers(1, 12), st.lists(st.integers(-2500, 400), min_size=1, max_size=40))
def test_inside_valkey_it_is_the_same(store: redis.Redis, limit: int, steps: list[int]) -> None:
    """The very script, but for its clock."""
    text = files("rdev.adapters.redis").joinpath("enter.lua").read_text()
    assert "redis.call('TIME')" in text
    script = store.register_script(text.replace("redis.call('TIME')", "{ ARGV[3], ARGV[4] }"))
    store.flushdb()
    window, now = SlidingWindow(), START_MS
    for step in steps:
        now += step
        clock = [now // 1000, now % 1000 * 1000]
        _, _, remaining, reset_ms, retry_ms = script(
            keys=["v", "w", "f"], args=[limit, "x", *clock]
        )
        said = window.take(limit, now)
        assert (remaining, reset_ms, retry_ms) == (said.remaining, said.reset_ms, said.retry_ms)
        if store.exists("w"):
            store.persist("w")  # its life is measured by the real clock


@pytest.fixture(scope="module")
def store(valkey):
    with redis.Redis.from_url(valkey.url) as client:
        yield client


def test_no_eleventh_request_in_any_second_by_the_stores_own_clock(redis_url: str) -> None:
    let_through: list[tuple[float, float]] = []
    until = time.monotonic() + 3.3

    def ask() -> None:
        gate = gate_at(redis_url)
        while time.monotonic() < until:
            before = time.monotonic()
            if gate.enter("key-1", 10).window.allowed:
                let_through.append((before, time.monotonic()))
            time.sleep(0.002)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    let_through.sort()
    assert len(let_through) >= 20
    for first, eleventh in zip(let_through, let_through[10:], strict=False):
        assert eleventh[1] - first[0] >= 1.0
