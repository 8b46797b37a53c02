"""The server's span of each request, which goes on from the caller's `traceparent`. It ends when
the answer begins to leave: a stream may last for minutes, and is no slow request."""

from collections.abc import Iterable
from typing import Any

from rdev import wiring
from rdev.domain.redaction import redact
from rdev.http.middleware import METHODS, WSGI, Environ
from rdev.ports import tracing

SPAN = "rdev.span"
_PROBES = ("/health", "/ready", "/metrics")
_SERVER_ERROR = 500


class Traced:
    def __init__(self, app: WSGI) -> None:
        self._app = app

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        wiring.telemetry()
        if not tracing.on() or environ.get("PATH_INFO") in _PROBES:
            return self._app(environ, start_response)
        method = environ["REQUEST_METHOD"]
        method = method if method in METHODS else "_OTHER"  # callers may invent some
        attributes = {
            "http.request.method": method,
            "url.scheme": environ.get("wsgi.url_scheme", "http"),
            # The path, never the query: that may hold a ticket.
            "url.path": redact(environ.get("PATH_INFO", "/")),
        }
        parent = environ.get("HTTP_TRACEPARENT", "")
        with tracing.span(_named(method), attributes, kind="server", parent=parent) as span:
            environ[SPAN] = span
            return self._app(environ, start_response)


def _named(method: str) -> str:
    """As the conventions have it for the name of a span."""
    return method if method in METHODS else "HTTP"


def conclude(environ: Environ, route: str, status: int, request_id: str) -> None:
    """Tell the request's span what became of it."""
    span = environ.get(SPAN)
    if span is None:
        return
    if route != "none":
        span.name(f"{_named(environ['REQUEST_METHOD'])} {route}")
        span.set("http.route", route)
    span.set("http.response.status_code", status)
    span.set("rdev.request_id", request_id)
    if status >= _SERVER_ERROR:
        span.failed(str(status))
