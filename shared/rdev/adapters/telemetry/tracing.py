"""Spans by OpenTelemetry. What an exception says stays out of them: it may hold secrets."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry import trace
from opentelemetry.context import Context, attach, create_key, detach, get_current, get_value
from opentelemetry.context import set_value as with_value
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from rdev.ports.tracing import Span, Value

_KINDS = {kind.name.lower(): kind for kind in trace.SpanKind}
_LEAF = create_key("rdev-leaf")
_OURS = create_key("rdev-span")
"""The nearest span that is no call of a store: what others go on from."""
_FORMAT = TraceContextTextMapPropagator()
_SILENT: AbstractContextManager[Span] = nullcontext(Span())


class _Recorded(Span):
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def name(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, name: str, value: Value) -> None:
        self._span.set_attribute(name, value)

    def failed(self, error: str) -> None:
        self._span.set_attribute("error.type", error)
        self._span.set_status(trace.StatusCode.ERROR)


class OtelTracer:
    """Port `rdev.ports.tracing.Tracer`."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def span(
        self,
        name: str,
        attributes: Mapping[str, Value],
        *,
        kind: str,
        parent: str | None,
        link: str | None,
        leaf: bool,
    ) -> Iterator[Span]:
        around = get_current() if parent is None else _context_of(parent)
        linked = trace.get_current_span(_context_of(link or "")).get_span_context()
        span = self._tracer.start_span(
            name,
            context=around,
            kind=_KINDS[kind],
            attributes=dict(attributes),
            links=[trace.Link(linked)] if linked.is_valid else [],
        )
        within = with_value(_OURS, span, trace.set_span_in_context(span, around))
        token = attach(with_value(_LEAF, True, within) if leaf else within)
        recorded = _Recorded(span)
        try:
            yield recorded
        except BaseException as exc:
            recorded.failed(type(exc).__name__)
            raise
        finally:
            detach(token)
            span.end()

    def inner(
        self, name: str, attributes: Mapping[str, Value], *, leaf: bool
    ) -> AbstractContextManager[Span]:
        if not trace.get_current_span().is_recording() or get_value(_LEAF):
            return _SILENT
        return self._call(name, attributes, leaf=leaf)

    @contextmanager
    def _call(self, name: str, attributes: Mapping[str, Value], *, leaf: bool) -> Iterator[Span]:
        ours = get_value(_OURS)
        with self.span(
            name, attributes, kind="client", parent=None, link=None, leaf=leaf
        ) as recorded:
            token = attach(with_value(_OURS, ours))
            try:
                yield recorded
            finally:
                detach(token)

    def context(self) -> str | None:
        ours = get_value(_OURS)
        carrier: dict[str, str] = {}
        if isinstance(ours, trace.Span):
            _FORMAT.inject(carrier, trace.set_span_in_context(ours))
        return carrier.get("traceparent")


def _context_of(traceparent: str) -> Context:
    """Nobody's, where it is none."""
    return _FORMAT.extract({"traceparent": traceparent}, Context())
