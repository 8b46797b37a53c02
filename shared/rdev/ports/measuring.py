"""What instruments are: how this process counts, and nothing of where it is told.

They cost a caller about a microsecond and import nothing. Whoever tells of them (`adapters.
telemetry`) is loaded when somebody asks: a function that starts cold does not wait for it.
"""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping

Labels = tuple[str, ...]
Reading = tuple[Labels, float]
Source = Callable[[], Iterable[Reading]]

CATALOGUE: "dict[str, Instrument]" = {}
"""Every instrument there is, by name."""
MOST_LABELS = 1000
"""Combinations of labels that one instrument keeps. Further ones share one that says `other`."""
OTHER = "other"

_MOST_WAITING = 4096
_MANY_WAITING = 1024


class Instrument:
    """`unit` as OpenTelemetry writes it (s, By, {command}); `labels` name what `Labels` are."""

    def __init__(self, name: str, unit: str, about: str, labels: Labels = ()) -> None:
        assert name not in CATALOGUE, name
        self.name = name
        self.unit = unit
        self.about = about
        self.labels = labels
        CATALOGUE[name] = self

    def named(self, values: Labels) -> Mapping[str, str]:
        return dict(zip(self.labels, values, strict=True))


class Counter(Instrument):
    """Goes up. May be used by any thread. `known` are told from the beginning as 0: the first that
    is counted is then seen as an increase. So is one without labels."""

    def __init__(
        self, name: str, unit: str, about: str, labels: Labels = (), known: tuple[Labels, ...] = ()
    ) -> None:
        super().__init__(name, unit, about, labels)
        self._totals: dict[Labels, float] = dict.fromkeys(known if labels else [()], 0)
        # Held for one look into a dict, in which no greenlet gives way: it may be older than
        # gevent's patches.
        self._lock = threading.Lock()

    def add(self, *labels: str, by: float = 1) -> None:
        with self._lock:
            total = self._totals.get(labels)
            if total is None and len(self._totals) >= MOST_LABELS:
                labels = (OTHER,) * len(labels)
                total = self._totals.get(labels)
            self._totals[labels] = (total or 0) + by

    def read(self) -> list[Reading]:
        with self._lock:
            return list(self._totals.items())


class Level(Counter):
    """Goes up and down by what is added to it."""


class Gauge(Instrument):
    """Asked for when somebody wants to know."""

    def __init__(self, name: str, unit: str, about: str, labels: Labels = ()) -> None:
        super().__init__(name, unit, about, labels)
        self._sources: dict[str, Source] = {}

    def watch(self, source: Source, what: str = "") -> None:
        """Have it read from there: a source for each `what`, the last that was named."""
        self._sources[what] = source

    def read(self) -> list[Reading]:
        return [reading for source in list(self._sources.values()) for reading in source()]


class Histogram(Instrument):
    """How often which size. What is recorded waits until somebody asks, or it is much."""

    def __init__(
        self, name: str, unit: str, about: str, labels: Labels = (), *, bounds: tuple[float, ...]
    ) -> None:
        super().__init__(name, unit, about, labels)
        self.bounds = bounds
        self._waiting: deque[Reading] = deque(maxlen=_MOST_WAITING)

    def record(self, value: float, *labels: str) -> None:
        """Clocks of two machines may differ: what would be below nothing is nothing."""
        if math.isfinite(value):
            self._waiting.append((labels, max(0.0, value)))
        if len(self._waiting) >= _MANY_WAITING:
            _much_waits()

    def take(self) -> Iterable[Reading]:
        """What was recorded since the last call."""
        while self._waiting:
            try:
                yield self._waiting.popleft()
            except IndexError:  # another thread took it
                return


def _nobody() -> None:
    """The oldest of what is recorded is dropped where nobody takes it."""


_much_waits: Callable[[], None] = _nobody


def when_much_waits(call: Callable[[], None]) -> None:
    """Have this called, again and again, while a histogram holds more than it should."""
    global _much_waits  # noqa: PLW0603 - one a process
    _much_waits = call
