"""The catalogue of metrics, what is exported and docs/metrics.md say the same."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

import promtool
from rdev.adapters.telemetry.exposing import together
from rdev.ports.measuring import CATALOGUE, MOST_LABELS, Counter, Histogram, Level
from scraping import documented

_OWN_LABELS = {"process", "le"}


@pytest.fixture(scope="module")
def exposition() -> str:
    """What a process exports that has used every instrument once."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parents[1] / "every_instrument.py")],
        capture_output=True,
        timeout=60,
        check=True,
    )
    return done.stdout.decode()


def families(text: str) -> list[Metric]:
    return [each for each in text_string_to_metric_families(text) if each.name.startswith("rdev_")]


def exported(text: str) -> set[tuple[str, str, frozenset[str]]]:
    """(name, type, labels) of each family."""
    found = set()
    for family in families(text):
        labels = {label for sample in family.samples for label in sample.labels}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found.add((name, family.type, frozenset(labels - _OWN_LABELS)))
    return found


def test_what_is_exported_is_documented_and_what_is_documented_is_exported(
    exposition: str,
) -> None:
    assert exported(exposition) == documented()
    assert len(documented()) == len(CATALOGUE)


def test_every_sample_says_which_process_it_is_of(exposition: str) -> None:
    for family in text_string_to_metric_families(exposition):
        assert all(sample.labels.get("process") for sample in family.samples), family.name


def test_the_exposition_has_no_lint(exposition: str) -> None:
    promtool.check_metrics(exposition)


def test_every_instrument_says_what_it_is(exposition: str) -> None:
    for family in families(exposition):
        assert family.documentation.endswith("."), family.name


def test_expositions_of_several_processes_are_one(exposition: str) -> None:
    other = exposition.replace('process="test-0"', 'process="test-1"')
    whole = together(exposition.encode(), [other.encode()]).decode()
    assert exported(whole) == exported(exposition)
    for family in families(whole):
        if family.name != "rdev_process_up":  # says it of others
            assert {sample.labels["process"] for sample in family.samples} == {"test-0", "test-1"}
    headings = re.findall(r"^# TYPE (\S+)", whole, re.M)
    assert len(headings) == len(set(headings))
    promtool.check_metrics(whole)


def test_a_counter_cannot_grow_without_bound() -> None:
    counter = Counter("test.bound", "", "Only here.", ("which",))
    try:
        for number in range(2 * MOST_LABELS):
            counter.add(str(number))
        readings = dict(counter.read())
    finally:
        del CATALOGUE["test.bound"]
    assert len(readings) == MOST_LABELS + 1
    assert readings["other",] == MOST_LABELS
    assert sum(readings.values()) == 2 * MOST_LABELS


def test_what_nobody_reads_waits_in_bounded_memory() -> None:
    histogram = Histogram("test.waits", "s", "Only here.", bounds=(1.0,))
    try:
        for _ in range(100_000):
            histogram.record(float("nan"))
            histogram.record(-1.0)
        taken = list(histogram.take())
    finally:
        del CATALOGUE["test.waits"]
    assert 1000 <= len(taken) < 10_000
    assert set(taken) == {((), 0.0)}


def test_a_level_goes_down_again() -> None:
    level = Level("test.level", "", "Only here.")
    del CATALOGUE["test.level"]
    level.add(by=3)
    level.add(by=-2)
    assert level.read() == [((), 1)]


def test_counting_loads_nothing_of_opentelemetry() -> None:
    code = (
        "import sys; from rdev.ports import metrics; metrics.HTTP_REQUESTS.add('a', 'b', 'c', 'd');"
        "metrics.HTTP_DURATION.record(1.0, 'a', 'b');"
        "from rdev.adapters.telemetry.exposing import Exposing;"
        "Exposing('1', 'test', None).start();"
        "sys.exit(any(n.startswith(('opentelemetry', 'prometheus')) for n in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_a_function_that_starts_loads_nothing_of_prometheus() -> None:
    """Nor what is sent by OTLP: only who is asked does."""
    code = (
        "import sys; from rdev.platform.gateway import load_function;"
        "app = load_function('system'); app.test_client().get('/health');"
        "wanted = ('prometheus_client', 'opentelemetry.exporter', 'opentelemetry.sdk.metrics');"
        "sys.exit(any(name.startswith(wanted) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_what_was_recorded_before_anybody_asked_is_not_forgotten() -> None:
    """More than waits at most, in a process that nobody reads."""
    name = "rdev_webhook_attempt_duration_seconds_count"
    sample = f'{name}{{outcome="failed",process="test-0"}} 10000.0'
    code = (
        "import sys, time; from rdev.ports import metrics;"
        "from rdev.adapters.telemetry.exposing import Exposing;"
        "one = Exposing('1', 'test', None); one.start();\n"
        "for part in range(20):\n"
        "    for _ in range(500): metrics.WEBHOOK_DURATION.record(0.2, 'failed')\n"
        "    while len(metrics.WEBHOOK_DURATION._waiting) >= 1024: time.sleep(0.01)\n"
        # What is being handed over just now is told the next time.
        "while sys.argv[1] not in one.exposition().decode(): time.sleep(0.05)"
    )
    subprocess.run([sys.executable, "-c", code, sample], timeout=60, check=True)
