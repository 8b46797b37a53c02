"""What tracing costs: an authenticated GET of a project with 10 % of the traces kept, and with all,
against none; by the processor time that a request takes of the worker, which other work on the
machine changes little. Less is better."""

from collections.abc import Callable, Iterator

import psutil

from bench.api_requests import CONNECTIONS, SECONDS, get
from bench.rows import Row, in_turn
from bench.sink import sink
from live_stack import Stack, running_stack

_WITH_WARMING_UP = 1.2


def rows() -> Iterator[Row]:
    with (
        sink() as to,
        running_stack() as silent,
        running_stack(variables=_sampled(to.url, "0.1")) as some,
        running_stack(variables=_sampled(to.url, "1.0")) as all_,
    ):
        none_us, some_us, all_us = in_turn(_time_us(silent), _time_us(some), _time_us(all_))
    what = f"GET of a project, {CONNECTIONS} connections, traced"
    yield Row(
        f"{what} at 10 %: processor time a request", none_us, some_us, "us", goal=1.1, at_most=True
    )
    yield Row(f"{what} at 100 %: processor time a request", none_us, all_us, "us")


def _sampled(url: str, share: str) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{url}/v1/traces",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": share,
    }


def _time_us(stack: Stack) -> Callable[[], float]:
    key = stack.key("projects:read").secret
    assert key is not None
    worker = psutil.Process(stack.pids("functions")[-1])

    def used_us() -> float:
        before = worker.cpu_times()
        measured = get(stack.port, "/projects/demo", {"X-API-Key": key})
        after = worker.cpu_times()
        used_s = after.user + after.system - before.user - before.system
        return 1e6 * used_s / (measured.rate * SECONDS * _WITH_WARMING_UP)

    return used_us
