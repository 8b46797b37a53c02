"""Uses every instrument of the catalogue once and prints what Prometheus would read. Run it alone:
a process has one of each."""

import sys

from opentelemetry.sdk.resources import Resource

from rdev.adapters.telemetry.metrics import Metrics
from rdev.ports.measuring import CATALOGUE, Counter, Gauge, Histogram

exposed = Metrics("1.2.3", "test-0", Resource({}), [])
for instrument in CATALOGUE.values():
    labels = tuple(f"some-{name}" for name in instrument.labels)
    if isinstance(instrument, Histogram):
        instrument.record(0.2, *labels)
    elif isinstance(instrument, Counter):
        instrument.add(*labels)
    elif isinstance(instrument, Gauge) and not instrument.read():
        instrument.watch(lambda labels=labels: [(labels, 1.0)])
sys.stdout.buffer.write(exposed.exposition())
