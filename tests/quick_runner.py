"""Rules of a runner whose lease and sweeps do not keep a test waiting."""

from rdev.services.rules import Rules
from rdev.services.runner import RunnerRules

LEASE_S = 1.0
KILL_GRACE_S = 3.0
"""Enough, on a busy machine too, for what ends by TERM to have ended by it."""


def quick_rules(
    *, slots: int = 4, max_concurrent: int = 5, sweep_s: float = 0.3, **following: float
) -> RunnerRules:
    return RunnerRules(
        slots=slots,
        lease_s=LEASE_S,
        renew_s=LEASE_S / 4,
        sweep_s=sweep_s,
        max_concurrent=max_concurrent,
        following=Rules(kill_grace_s=KILL_GRACE_S, **following),
    )
