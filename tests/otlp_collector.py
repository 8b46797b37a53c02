"""A collector of OpenTelemetry on loopback: keeps the spans and the names of metrics that it is
sent. It may be told to answer nothing."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Proto

KINDS = ("", "internal", "server", "client", "producer", "consumer")


@dataclass(frozen=True)
class Span:
    service: str
    name: str
    kind: str
    trace_id: str
    id: str
    parent: str
    links: tuple[str, ...]
    attributes: dict[str, Any]
    failed: bool


@dataclass
class Collector:
    url: str
    bodies: list[bytes] = field(default_factory=list)
    _spans: list[Span] = field(default_factory=list)
    metrics: dict[str, set[str]] = field(default_factory=dict)
    """By the sender's `service.instance.id`."""
    silent: threading.Event | None = None
    """No request is answered before this is set."""
    waiting: int = 0
    """How many requests came that were not answered at once."""

    def spans(self, trace_id: str) -> list[Span]:
        return [span for span in list(self._spans) if span.trace_id == trace_id]

    def all_spans(self) -> list[Span]:
        return list(self._spans)

    def everything(self) -> bytes:
        """All that was sent, as it came."""
        return b"\n".join(list(self.bodies))

    def take(self, path: str, body: bytes) -> None:
        self.bodies.append(body)
        if path == "/v1/traces":
            asked = ExportTraceServiceRequest.FromString(body)
            for told in asked.resource_spans:
                service = _attributes(told.resource)["service.name"]
                for scope in told.scope_spans:
                    self._spans += [_span(service, span) for span in scope.spans]
        if path == "/v1/metrics":
            for told in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                sender = _attributes(told.resource)["service.instance.id"]
                names = self.metrics.setdefault(sender, set())
                names |= {metric.name for scope in told.scope_metrics for metric in scope.metrics}


def _attributes(proto: Proto | Resource) -> dict[str, Any]:
    values = {each.key: each.value for each in proto.attributes}
    return {key: getattr(value, str(value.WhichOneof("value"))) for key, value in values.items()}


def _span(service: str, proto: Proto) -> Span:
    return Span(
        service=service,
        name=proto.name,
        kind=KINDS[proto.kind],
        trace_id=proto.trace_id.hex(),
        id=proto.span_id.hex(),
        parent=proto.parent_span_id.hex(),
        links=tuple(link.span_id.hex() for link in proto.links),
        attributes=_attributes(proto),
        failed=proto.status.code == proto.status.STATUS_CODE_ERROR,
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    collector: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.collector.silent is not None:
            self.collector.waiting += 1
            self.collector.silent.wait(60)
        self.collector.take(self.path, body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass  # a process of the stack that was killed


@contextmanager
def collecting() -> Iterator[Collector]:
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    collector = handler.collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
