"""The last sweep, as the database knows it. Pure."""

from dataclasses import dataclass

LATE_S = 300.0
"""A deployment sweeps every few seconds, or every few minutes where it scales to zero: so long
without one, and nobody does."""


@dataclass(frozen=True, slots=True)
class LastSweep:
    """How long ago any runner swept, and swept without leaving a step undone (None: never).
    `problem`: why the last one did; empty where it did not."""

    tried_s: float
    completed_s: float | None
    problem: str

    @property
    def late(self) -> bool:
        return self.completed_s is None or self.completed_s > LATE_S
