"""Which other origins' pages may call this API from a browser: those on a list, none by default.

Never with credentials: a page sends its key as a header, and cookies mean nothing here."""

from collections.abc import Collection, Iterable
from typing import Any

from rdev.http.middleware import WSGI, Environ, adding

_METHODS = "GET, HEAD, POST, PATCH, DELETE"
_TAKEN = (
    "X-API-Key, Authorization, Content-Type, Accept, Idempotency-Key, Prefer, Last-Event-ID, "
    "X-Request-ID, Range"
)
_SHOWN = (
    "X-Request-ID, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, RateLimit, "
    "RateLimit-Policy, Retry-After, Location, Preference-Applied, Content-Range, Accept-Ranges"
)
_PREFLIGHT_S = "600"


class Cors:
    def __init__(self, app: WSGI, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        origin = environ.get("HTTP_ORIGIN", "")
        allowed = origin in self._origins
        if allowed and _is_preflight(environ):
            headers = [
                *_allowing(origin),
                ("Access-Control-Allow-Methods", _METHODS),
                ("Access-Control-Allow-Headers", _TAKEN),
                ("Access-Control-Max-Age", _PREFLIGHT_S),
            ]
            start_response("204 No Content", headers)
            return []
        # For the others too: a cache must not give one origin what was meant for another.
        more = [*_allowing(origin)] if allowed else [("Vary", "Origin")]
        return self._app(environ, adding(start_response, lambda _there: more))


def _allowing(origin: str) -> list[tuple[str, str]]:
    return [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", _SHOWN),
        ("Vary", "Origin"),
    ]


def _is_preflight(environ: Environ) -> bool:
    return (
        environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
    )
