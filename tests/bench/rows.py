"""One line of the table, and how its two sides are taken in turn."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

HEADINGS = ("what", "reference", "rdev", "ratio", "goal")


@dataclass(frozen=True)
class Row:
    """`reference` and `rdev` in `unit`. `goal`: what the ratio rdev/reference is to be at least,
    or at most where `at_most`; None where the row is there to be read only."""

    what: str
    reference: float
    rdev: float
    unit: str
    goal: float | None = None
    at_most: bool = False

    @property
    def ratio(self) -> float:
        return self.rdev / self.reference

    @property
    def reached(self) -> bool:
        if self.goal is None:
            return True
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal

    def cells(self) -> tuple[str, ...]:
        goal = ""
        if self.goal is not None:
            goal = f"{'at most' if self.at_most else 'at least'} {self.goal:g}"
        return (
            self.what,
            f"{_short(self.reference)} {self.unit}",
            f"{_short(self.rdev)} {self.unit}",
            f"{self.ratio:.2f}",
            goal if self.reached else f"{goal}: MISSED",
        )


def in_turn(*sides: Callable[[], float], rounds: int = 3) -> list[float]:
    """The median of each side, over rounds in which each has one turn: what else the machine does
    meanwhile meets them all."""
    taken = [[side() for side in sides] for _ in range(rounds)]
    return [median(values) for values in zip(*taken, strict=True)]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
