"""Tracing by the standard variables, and beside a collector that is away or never answers."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from free_port import free_port
from http_client import Http
from live_stack import ENOUGH_S, wait_for
from otlp_collector import Collector, collecting
from rdev.config import SOURCE_ROOT

TRACES = 200
SAMPLED, NOT_SAMPLED = "-00f067aa0ba902b7-01", "-00f067aa0ba902b7-00"
PROGRAM = f"""
import json, sys
from rdev.adapters.telemetry import setup
from rdev.ports import tracing
setup.start("1", "runner")
parents = json.load(sys.stdin)
for parent in parents or [""] * {TRACES}:
    with tracing.span("one", parent=parent):
        with tracing.inner("a call"):
            pass
setup.stop()
"""


def traced(collector: Collector, parents: list[str], **variables: str) -> set[str]:
    """The traces of which anything came to the collector."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={
            "PATH": os.environ["PATH"],
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            **variables,
        },
        input=json.dumps(parents).encode(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == b""
    return {span.trace_id for span in collector.all_spans() if span.name == "one"}


@pytest.mark.parametrize(
    ("sampler", "argument", "least", "most"),
    [
        ("parentbased_traceidratio", "0.1", 1, 60),
        ("always_on", "", TRACES, TRACES),
    ],
)
def test_as_many_traces_are_kept_as_the_standard_variables_say(
    sampler: str, argument: str, least: int, most: int
) -> None:
    variables = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}
    with collecting() as collector:
        assert least <= len(traced(collector, [], **variables)) <= most


def test_a_callers_decision_goes_before_the_share() -> None:
    kept, left = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
    parents = [f"00-{kept}{SAMPLED}", f"00-{left}{NOT_SAMPLED}"]
    variables = {
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0",
    }
    with collecting() as collector:
        assert traced(collector, parents, **variables) == {kept}


@pytest.mark.parametrize(
    "off",
    [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}],
    ids=lambda variables: next(iter(variables)),
)
def test_tracing_can_be_switched_off_beside_an_endpoint(off: dict[str, str]) -> None:
    with collecting() as collector:
        assert traced(collector, [], **off) == set()


@pytest.fixture
def silent() -> Iterator[Collector]:
    """Takes connections and requests, and answers none before the test is over."""
    with collecting() as collector:
        collector.silent = threading.Event()
        yield collector
        collector.silent.set()


def test_collectors_that_do_not_answer_hold_up_nobody(silent: Collector, tmp_path: Path) -> None:
    """Sending to the one of traces would take an hour: whoever waited for it would be waiting
    still. The one of metrics is away."""
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "FUNCTION_TARGET": "system",
        "PORT": str(port := free_port()),
        "RDEV_PEPPER": "x" * 32,
        "RDEV_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "RDEV_STORE_TIMEOUT_S": "0.2",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{silent.url}/v1/traces",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://127.0.0.1:{free_port()}/v1/metrics",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "3600000",
        "OTEL_METRIC_EXPORT_INTERVAL": "100",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_BSP_MAX_QUEUE_SIZE": "16",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8",
    }
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "rdev.platform.function"],
            env=variables,
            cwd=SOURCE_ROOT,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        http = Http(port)
        wait_for(lambda: _answers(http, process, log))
        # Many times what waits to be sent at most.
        assert {http.get("/nowhere").status for _ in range(200)} == {404}
        wait_for(lambda: silent.waiting)
        assert {http.get("/nowhere").status for _ in range(50)} == {404}
        process.send_signal(signal.SIGTERM)
        assert process.wait(ENOUGH_S) == 0, log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


def _answers(http: Http, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return http.get("/health").status == 200
    except OSError:
        return False
