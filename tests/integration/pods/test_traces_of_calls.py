"""Calls of the Kubernetes API within a trace: each has its span, and none says who may ask."""

from collections.abc import Iterator

import pytest
import yaml
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pod_service import Cluster
from rdev.adapters.telemetry.tracing import OtelTracer
from rdev.adapters.workspaces.kubernetes.api import ApiRefused
from rdev.errors import WorkspaceUnavailable
from rdev.ports import tracing

PODS = "/api/v1/namespaces/projects/pods"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(OtelTracer(provider.get_tracer("test")))
    yield exporter
    tracing.use(None)
    provider.shutdown()


def test_a_call_is_a_span_and_one_that_fails_says_how(
    cluster: Cluster, spans: InMemorySpanExporter
) -> None:
    cluster.api.get(PODS)  # of no trace
    with tracing.span("outer", parent=""):
        cluster.api.get(PODS, limit="1")
        with pytest.raises(ApiRefused):
            cluster.api.get(f"{PODS}/none")
        cluster.there.away = True
        with pytest.raises(WorkspaceUnavailable):
            cluster.api.delete(f"{PODS}/none")
    cluster.there.away = False
    told = [span for span in spans.get_finished_spans() if span.name != "outer"]
    (outer,) = (span for span in spans.get_finished_spans() if span.name == "outer")
    assert [span.name for span in told] == ["GET", "GET", "DELETE"]
    assert all(span.parent.span_id == outer.context.span_id for span in told)
    statuses = [span.attributes.get("http.response.status_code") for span in told]
    assert statuses == [200, 404, None]
    errors = [span.attributes.get("error.type") for span in told]
    assert errors == [None, "ApiRefused", "WorkspaceUnavailable"]
    assert told[0].attributes["url.full"].endswith(PODS)  # without its query
    text = str([dict(span.attributes) for span in told])
    (user,) = yaml.safe_load(cluster.kubeconfig.read_text())["users"]
    assert all(str(secret) not in text for secret in user["user"].values())
