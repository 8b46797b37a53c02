"""What Prometheus would read of a running stack, and what docs/metrics.md says there is."""

import re
from collections import defaultdict

from prometheus_client.parser import text_string_to_metric_families

from live_stack import Stack
from rdev.config import SOURCE_ROOT

_DOCUMENT = (SOURCE_ROOT / "docs/metrics.md").read_text()


class Scrape:
    def __init__(self, text: str) -> None:
        self.text = text
        self.families = list(text_string_to_metric_families(text))

    def total(self, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def values(self) -> dict[str, set[str]]:
        """By label, what it says anywhere in rdev's own."""
        found: dict[str, set[str]] = defaultdict(set)
        for family in self.families:
            for sample in family.samples if family.name.startswith("rdev_") else ():
                for label, value in sample.labels.items():
                    found[label].add(value)
        return found


def scrape(stack: Stack) -> Scrape:
    answer = stack.admin.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return Scrape(answer.body.decode())


def documented() -> set[tuple[str, str, frozenset[str]]]:
    """(name, type, labels) of each metric."""
    rows = re.findall(r"^\| `(rdev_\w+)` \| (\w+) \| (.*?)\s*\|", _DOCUMENT, re.M)
    return {(name, kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
