"""OpenTelemetry, where the standard `OTEL_*` variables name an endpoint; else this imports nothing
of its SDK. Call `start` in the process that serves: the exporter's thread does not outlive a fork.
"""

import atexit
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rdev.beside_the_loop import is_patched
from rdev.ports import tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

_FLUSH_S = 2.0
_CALL_S = 5.0

_providers: "list[TracerProvider]" = []
_making = threading.Lock()


@contextmanager
def untold_of_forks() -> Iterator[None]:
    """Under gevent, around the making of the SDK's parts, which else ask to be told of each fork,
    and start threads then. Whoever has them forks only to become another program, and the child
    would wait for those threads, and meanwhile run what greenlets of others are about to do."""
    if not is_patched():
        yield
        return
    with _making:
        kept = os.register_at_fork

        def others(**hooks: Callable[[], object]) -> None:
            modules = [str(getattr(hook, "__module__", "")) for hook in hooks.values()]
            if not all(module.startswith("opentelemetry.") for module in modules):
                kept(**hooks)

        os.register_at_fork = others  # type: ignore[assignment]
        try:
            yield
        finally:
            os.register_at_fork = kept


def exports(signal: str) -> bool:
    """Whether TRACES or METRICS go out by OTLP."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if os.environ.get(f"OTEL_{signal}_EXPORTER", "otlp") != "otlp":
        return False
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return any(os.environ.get(name) for name in names)


def resource(version: str, process: str, instance: str = "") -> "Resource":
    """What sends: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` come before this. `instance`
    tells it from others on its machine."""
    from opentelemetry.sdk.resources import Resource

    name = os.environ.get("OTEL_SERVICE_NAME") or f"rdev-{process}"
    attributes = {"service.name": name, "service.version": version}
    if instance:
        attributes["service.instance.id"] = f"{socket.gethostname()}:{instance}"
    return Resource.create(attributes)


def sending() -> "list[MetricReader]":
    """What sends metrics from time to time, where an endpoint is set."""
    if not exports("METRICS"):
        return []
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    exporter = OTLPMetricExporter(timeout=_limit_s("METRICS"))
    with untold_of_forks():
        return [PeriodicExportingMetricReader(exporter)]


def _limit_s(signal: str) -> float | None:
    """None: as the caller's variables have it."""
    limits = (f"OTEL_EXPORTER_OTLP_{signal}_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
    return None if any(name in os.environ for name in limits) else _CALL_S


def start(version: str, process: str) -> None:
    """Have this process's spans sent, in the background: no caller waits for a collector, and
    what does not fit into its queue is dropped."""
    if not exports("TRACES"):
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from rdev.adapters.telemetry.tracing import OtelTracer

    sends = resource(version, process)
    exporter = OTLPSpanExporter(timeout=_limit_s("TRACES"))
    with untold_of_forks():
        provider = TracerProvider(resource=sends, shutdown_on_exit=False)
        sender = BatchSpanProcessor(exporter)
    provider.add_span_processor(sender)
    _providers.append(provider)
    tracing.use(OtelTracer(provider.get_tracer("rdev", version)))
    atexit.register(stop)


def stop() -> None:
    """Send what is left, for two seconds at most. Twice is no error."""
    tracing.use(None)
    while _providers:
        last = threading.Thread(target=_providers.pop().shutdown, daemon=True)
        try:
            last.start()
            last.join(_FLUSH_S)
        except RuntimeError:  # the interpreter is too far gone for threads
            return
