"""The security headers of every answer, and what else is left to be added to it. A page that needs
more than an API answer sets its own Content-Security-Policy, which then stays."""

from collections.abc import Iterable
from typing import Any

from rdev.http.middleware import MORE_HEADERS, WSGI, Environ, adding

# `sandbox`: output is whatever a command wrote, and must not become a page of this origin.
CONTENT_SECURITY_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
_ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
_OVER_TLS = (*_ALWAYS, ("Strict-Transport-Security", "max-age=31536000"))


class SecurityHeaders:
    def __init__(self, app: WSGI) -> None:
        self._app = app

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        # Only over TLS: in plain HTTP it means nothing, and a proxy may pass it on (RFC 6797, 7.2).
        wanted = _OVER_TLS if environ.get("wsgi.url_scheme") == "https" else _ALWAYS

        def lacking(there: set[str]) -> list[tuple[str, str]]:
            more = [(name, value) for name, value in wanted if name.lower() not in there]
            return [*environ.get(MORE_HEADERS, ()), *more]

        return self._app(environ, adding(start_response, lacking))
