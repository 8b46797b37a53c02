"""The schedule, the breaker and what an endpoint's answers mean: pure rules."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from rdev.domain.attempts import Outcome
from rdev.domain.delivering import (
    STANDARD_SCHEDULE_S,
    DeliveryRules,
    Verdict,
    health_after,
    plan,
    verdict,
)
from rdev.domain.webhook_bodies import MAX_BYTES, body_of
from rdev.domain.webhooks import Health, State
from rdev.errors import InvalidRequest
from rdev.services.signing import checked_secret, new_secret, signature

RULES = DeliveryRules()
NOW = datetime(2026, 11, 24, tzinfo=UTC)
CHANCE = st.floats(0, 1, exclude_max=True)
FAILED = Outcome(500, None, "", "127.0.0.1", 10, {}, b"", None)
THROTTLED = replace(FAILED, status=429, retry_after_s=77.0)
OK = replace(FAILED, status=200)
SLOW = replace(OK, duration_ms=9000)
OURS = replace(FAILED, status=None, error="ours", ours=True)
GONE = replace(FAILED, status=410)
NO_ANSWER = replace(FAILED, status=None, error="timeout")
OUTCOMES = st.sampled_from([FAILED, THROTTLED, OK, SLOW, OURS, NO_ANSWER])


def test_the_schedule_is_the_standards() -> None:
    hours = [delay_s / 3600 for delay_s in STANDARD_SCHEDULE_S[4:]]
    assert STANDARD_SCHEDULE_S[:4] == (0, 5, 5 * 60, 30 * 60)
    assert hours == [2, 5, 10, 14, 20, 24]


@given(st.integers(0, len(STANDARD_SCHEDULE_S) - 2), CHANCE)
def test_a_failure_waits_for_the_next_delay_give_or_take_a_fifth(step: int, chance: float) -> None:
    planned = plan(RULES, FAILED, step, chance)
    delay_s = STANDARD_SCHEDULE_S[step + 1]
    assert (planned.state, planned.step) == (State.PENDING, step + 1)
    assert 0.8 * delay_s <= planned.delay_s <= 1.2 * delay_s


@given(CHANCE)
def test_after_the_last_attempt_nothing_follows(chance: float) -> None:
    step, attempts = 0, 1
    while (planned := plan(RULES, FAILED, step, chance)).state is State.PENDING:
        step, attempts = planned.step, attempts + 1
    assert (planned.state, attempts) == (State.EXHAUSTED, len(STANDARD_SCHEDULE_S))


@given(st.integers(0, 5), CHANCE)
def test_what_rdev_failed_at_is_charged_to_nobody(step: int, chance: float) -> None:
    planned = plan(RULES, OURS, step, chance)
    assert (planned.state, planned.step) == (State.PENDING, step)
    assert planned.delay_s < 10
    ill = Health(failures=3, failing_since=NOW)
    assert health_after(RULES, ill, OURS, NOW, chance) == ill


def test_verdicts() -> None:
    said = {status: verdict(replace(OK, status=status)) for status in range(100, 600)}
    assert {s for s, v in said.items() if v is Verdict.SUCCEEDED} == set(range(200, 300))
    assert {s for s, v in said.items() if v is Verdict.THROTTLED} == {429, 502, 503, 504}
    assert {s for s, v in said.items() if v is Verdict.GONE} == {410}
    assert said[302] is Verdict.FAILED


@given(st.integers(0, 8), CHANCE)
def test_nobody_is_asked_again_before_the_time_it_asked_for(step: int, chance: float) -> None:
    assert plan(RULES, THROTTLED, step, chance).delay_s >= 77
    after = health_after(RULES, Health(), THROTTLED, NOW, chance)
    assert after.blocked_until == NOW + timedelta(seconds=77)


@given(st.lists(OUTCOMES, max_size=40), CHANCE)
def test_one_success_closes_the_breaker_and_forgets_the_failures(
    outcomes: list[Outcome], chance: float
) -> None:
    health = Health()
    for number, outcome in enumerate(outcomes):
        health = health_after(RULES, health, outcome, NOW + timedelta(seconds=number), chance)
    healed = health_after(RULES, health, OK, NOW, chance)
    assert (healed.failures, healed.failing_since, healed.blocked_until) == (0, None, None)
    assert not healed.slow


@given(st.integers(1, 60), CHANCE)
def test_the_breaker_opens_at_the_fifth_failure_for_longer_and_longer(
    failures: int, chance: float
) -> None:
    health = Health()
    for _ in range(failures):
        health = health_after(RULES, replace(health, blocked_until=None), FAILED, NOW, chance)
    if failures < RULES.breaker_failures:
        assert health.blocked_until is None
        return
    assert health.blocked_until is not None
    break_s = (health.blocked_until - NOW).total_seconds()
    longest = min(600, 30 * 2 ** (failures - 5))
    assert 0.8 * longest - 1e-3 <= break_s <= 1.2 * longest + 1e-3


def test_410_disables_at_once_and_five_days_of_failures_do() -> None:
    assert health_after(RULES, Health(), GONE, NOW, 0.5).disabled_reason == "gone"
    health, at = Health(), NOW
    for _ in range(9):
        health = health_after(RULES, health, FAILED, at, 0.5)
        at += timedelta(hours=12)
    assert health.disabled_at is None
    health = health_after(RULES, health, FAILED, NOW + timedelta(days=5), 0.5)
    assert (health.disabled_at, health.disabled_reason) == (NOW + timedelta(days=5), "failing")


def test_two_failures_a_week_apart_disable_nobody() -> None:
    once = health_after(RULES, Health(), FAILED, NOW, 0.5)
    twice = health_after(RULES, once, FAILED, NOW + timedelta(days=7), 0.5)
    assert twice.disabled_at is None


@given(
    st.dictionaries(
        st.sampled_from(["command", "args", "prompt", "labels", "id", "links"]),
        st.text(max_size=30_000)
        | st.lists(st.text(max_size=300), max_size=200)
        | st.dictionaries(st.text(max_size=60), st.text(max_size=200), max_size=32),
    )
)
def test_a_body_is_small_json_and_names_what_was_cut(data: dict[str, object]) -> None:
    body = body_of("command.finished", data, NOW)
    assert len(body) <= MAX_BYTES
    read = json.loads(body)
    assert (read["type"], read["timestamp"]) == ("command.finished", "2026-11-24T00:00:00.000Z")
    cut = read["data"].pop("cut", [])
    # Lone surrogates are no text; JSON carries them all the same.
    whole = json.loads(json.dumps({name: data[name] for name in data if name not in cut}))
    assert {name: value for name, value in read["data"].items() if name not in cut} == whole
    for name in cut:
        left = read["data"][name]
        assert left is None or str(data[name]).startswith(left)


def test_the_standards_own_vector() -> None:
    """From the specification's libraries (standard-webhooks, tests of every language)."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    at = datetime.fromtimestamp(1614265330, UTC)
    signed = signature((secret,), "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_new_secrets_are_of_the_standards_shape() -> None:
    secret = new_secret()
    assert checked_secret(secret) == secret
    assert Webhook(secret).sign("evt-1", NOW, "{}").startswith("v1,")


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_***", "c2hvcnQ="])
def test_a_secret_of_another_shape_is_refused(secret: str) -> None:
    with pytest.raises(InvalidRequest, match="24 to 64 bytes"):
        checked_secret(secret)
