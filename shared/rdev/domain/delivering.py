"""When a webhook is tried again, and what an endpoint's answers mean for it. Pure: the time and
chance come in as arguments."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from rdev.domain.attempts import Outcome
from rdev.domain.webhooks import Disabled, Health, State

STANDARD_SCHEDULE_S = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""Standard Webhooks 1.0, "Retry schedule": the delay before each attempt, after the one before."""

_OK = range(200, 300)
_GONE = 410
_TOO_MANY = 429
_THROTTLES = frozenset({_TOO_MANY, 502, 503, 504})
_THROTTLE_S = 5.0
_SLOW_MS = 2000


class Verdict(StrEnum):
    """What an outcome says about the delivery."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    THROTTLED = "throttled"
    GONE = "gone"
    OURS = "ours"
    """rdev itself could not send: charged to nobody."""


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    schedule_s: tuple[float, ...] = STANDARD_SCHEDULE_S
    jitter: float = 0.2
    breaker_failures: int = 5
    """So many in a row open an endpoint's circuit breaker."""
    breaker_s: float = 30.0
    """For how long at first; doubled at every probe that fails."""
    longest_break_s: float = 600.0
    disable_after_s: float = 5 * 86400.0
    """0: never."""
    ours_retry_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of a delivery: its state and, while it is pending, the delay in seconds."""

    state: State
    step: int
    delay_s: float = 0.0


def verdict(outcome: Outcome) -> Verdict:
    """2xx alone succeeds; a redirect is a failure like any other."""
    if outcome.ours:
        return Verdict.OURS
    if outcome.status is None:
        return Verdict.FAILED
    if outcome.status in _OK:
        return Verdict.SUCCEEDED
    if outcome.status == _GONE:
        return Verdict.GONE
    return Verdict.THROTTLED if outcome.status in _THROTTLES else Verdict.FAILED


def plan(rules: DeliveryRules, outcome: Outcome, step: int, chance: float) -> Plan:
    """What follows for a delivery after `step` attempts that counted; `chance` is in [0, 1)."""
    said = verdict(outcome)
    if said is Verdict.SUCCEEDED:
        return Plan(State.SUCCEEDED, step + 1)
    if said is Verdict.OURS:
        return Plan(State.PENDING, step, jittered(rules, rules.ours_retry_s, chance))
    if step + 1 >= len(rules.schedule_s):
        return Plan(State.EXHAUSTED, step + 1)
    delay_s = jittered(rules, rules.schedule_s[step + 1], chance)
    return Plan(State.PENDING, step + 1, max(delay_s, outcome.retry_after_s or 0.0))


def jittered(rules: DeliveryRules, delay_s: float, chance: float) -> float:
    """`delay_s`, up to `rules.jitter` of it less or more."""
    return delay_s * (1 + rules.jitter * (2 * chance - 1))


def health_after(
    rules: DeliveryRules, health: Health, outcome: Outcome, now: datetime, chance: float
) -> Health:
    """How the endpoint fares after one more attempt."""
    said = verdict(outcome)
    if said is Verdict.OURS:
        return health
    slow = outcome.duration_ms >= _SLOW_MS
    if said is Verdict.SUCCEEDED:
        return replace(
            health,
            failures=0,
            failing_since=None,
            slow=slow,
            blocked_until=None,
            last_success_at=now,
        )
    after = replace(
        health,
        failures=health.failures + 1,
        failing_since=health.failing_since or now,
        slow=slow,
        last_failure_at=now,
    )
    blocked_until = _later(health.blocked_until, _block(rules, after, outcome, now, chance))
    reason = _disabled(rules, after, said, now)
    if reason is not None and health.disabled_at is None:
        return replace(after, disabled_at=now, disabled_reason=reason, blocked_until=None)
    return replace(after, blocked_until=blocked_until)


def _block(
    rules: DeliveryRules, health: Health, outcome: Outcome, now: datetime, chance: float
) -> datetime | None:
    """Until when nothing more is sent: as the endpoint asked, or as the breaker has it."""
    asked_s = outcome.retry_after_s
    if verdict(outcome) is Verdict.THROTTLED and asked_s is not None:
        return now + timedelta(seconds=asked_s)
    excess = health.failures - rules.breaker_failures
    if excess >= 0:
        break_s = min(rules.breaker_s * 2 ** min(excess, 30), rules.longest_break_s)
        return now + timedelta(seconds=jittered(rules, break_s, chance))
    if verdict(outcome) is Verdict.THROTTLED:
        return now + timedelta(seconds=jittered(rules, _THROTTLE_S, chance))
    return None


def _disabled(
    rules: DeliveryRules, health: Health, said: Verdict, now: datetime
) -> Disabled | None:
    if said is Verdict.GONE:
        return Disabled.GONE
    # Two failures a week apart, with nothing in between, are no outage of a week.
    if not rules.disable_after_s or health.failures < rules.breaker_failures:
        return None
    assert health.failing_since is not None
    failing_s = (now - health.failing_since).total_seconds()
    return Disabled.FAILING if failing_s >= rules.disable_after_s else None


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((each for each in (one, other) if each is not None), default=None)
