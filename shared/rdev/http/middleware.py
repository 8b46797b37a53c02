"""What middleware of ours shares: its type, and how it answers without the application."""

from collections.abc import Callable, Iterable
from typing import Any

from rdev.errors import RdevError
from rdev.http import envelope
from rdev.ports import metrics
from rdev.ports.measuring import OTHER

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""What rdev knows; callers may invent others."""
MORE_HEADERS = "rdev.headers"
"""Where a request's environ has what `SecurityHeaders` is to add to its answer: a header costs a
fraction there of what it costs in Werkzeug's."""
Environ = dict[str, Any]
WSGI = Callable[[Environ, Any], Iterable[bytes]]


def answer(
    environ: Environ, start_response: Any, exc: RdevError, *, close: bool = False
) -> Iterable[bytes]:
    """An error in its envelope. `close`: what is still to come on this connection is not read."""
    request_id = envelope.request_id_of(environ)
    response = envelope.error(exc, envelope.meta_of(request_id))
    metrics.HTTP_REQUESTS.add("none", "none", OTHER, str(response.status_code))
    response.headers["X-Request-ID"] = request_id
    if close:
        response.headers["Connection"] = "close"
        # gunicorn ignores the header; see platform/gevent_worker.py.
        getattr(environ.get("wsgi.input"), "close_connection", lambda: None)()
    return response(environ, start_response)


def adding(start_response: Any, headers: Callable[[set[str]], list[tuple[str, str]]]) -> Any:
    """A start_response that adds `headers(names)`, given the names (in lower case) that the answer
    has already."""

    def start(status: str, given: list[tuple[str, str]], exc_info: Any = None) -> Any:
        more = headers({name.lower() for name, _ in given})
        return start_response(status, [*given, *more], exc_info)

    return start
