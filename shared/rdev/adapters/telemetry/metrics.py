"""The catalogue of `rdev.ports.metrics` as OpenTelemetry instruments: read as Prometheus' text, and
sent by OTLP where an endpoint is set. Importing this costs a tenth of a second: only where asked.

What counts is read when somebody collects (asynchronous instruments); what was recorded into
histograms is handed over then.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import Histogram as OtelHistogram
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import Metric

# All of the catalogue, also what nothing here has counted with yet.
from rdev.adapters.telemetry.setup import untold_of_forks
from rdev.ports import metrics as catalogue
from rdev.ports.measuring import CATALOGUE, Counter, Gauge, Histogram, Instrument, Level, Reading

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource

Observe = Callable[[CallbackOptions], Iterable[Observation]]


class Metrics:
    """This process's instruments for whoever reads them. `process` tells it from its neighbours."""

    def __init__(
        self, version: str, process: str, resource: "Resource", readers: "Sequence[MetricReader]"
    ) -> None:
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        prometheus = PrometheusMetricReader(
            disable_target_info=True, scope_info_enabled=False, registry=self._registry
        )
        self._labelled = _Labelled(self._registry, process)
        # What starts it ends it as well: see setup.
        with untold_of_forks():
            self.provider = MeterProvider(
                [prometheus, *readers], resource=resource, shutdown_on_exit=False
            )
        self._build = (version, ".".join(map(str, sys.version_info[:3])))
        catalogue.BUILD.watch(self._told)
        self._histograms: list[tuple[Histogram, OtelHistogram]] = []
        meter = self.provider.get_meter("rdev", version)
        for instrument in CATALOGUE.values():
            self._create(meter, instrument)

    def exposition(self) -> bytes:
        """All of it as Prometheus' text, each sample with the label `process`."""
        return generate_latest(self._labelled)

    def hand_over(self) -> None:
        """Give what waits in the histograms to OpenTelemetry's."""
        for ours, theirs in self._histograms:
            for labels, value in ours.take():
                theirs.record(value, ours.named(labels))

    def _told(self) -> list[Reading]:
        # Whoever collects reads this, and before any histogram.
        self.hand_over()
        return [(self._build, 1)]

    def _create(self, meter: Meter, instrument: Instrument) -> None:
        name, unit, about = instrument.name, instrument.unit, instrument.about
        if isinstance(instrument, Histogram):
            made = meter.create_histogram(
                name, unit, about, explicit_bucket_boundaries_advisory=instrument.bounds
            )
            self._histograms.append((instrument, made))  # type: ignore[arg-type] # the SDK's own
        elif isinstance(instrument, Gauge):
            meter.create_observable_gauge(name, [_observing(instrument)], unit, about)
        elif isinstance(instrument, Level):
            meter.create_observable_up_down_counter(name, [_observing(instrument)], unit, about)
        elif isinstance(instrument, Counter):
            meter.create_observable_counter(name, [_observing(instrument)], unit, about)


def _observing(instrument: "Counter | Gauge") -> Observe:
    def observe(_options: CallbackOptions) -> Iterator[Observation]:
        for labels, value in instrument.read():
            yield Observation(value, instrument.named(labels))

    return observe


class _Labelled:
    """A registry whose samples all say which process they are of."""

    def __init__(self, registry: CollectorRegistry, process: str) -> None:
        self._registry = registry
        self._process = {"process": process}

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [
                sample._replace(labels=self._process | sample.labels) for sample in family.samples
            ]
            yield family
