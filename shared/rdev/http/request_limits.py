"""Limits of what comes before the body: the query, the headers, the path.

`rdev up`'s own server has limits of its own, which are looser for the query. Elsewhere the server
may have none, and these hold.
"""

from collections.abc import Iterable
from typing import Any

from rdev.errors import InvalidRequest, NotFound
from rdev.http.middleware import WSGI, Environ, answer

MAX_QUERY = 4096
MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024
MAX_ID = 100
"""No id and no name in a path is longer."""


class RequestLimits:
    def __init__(self, app: WSGI) -> None:
        self._app = app

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        wrong = _too_much(environ)
        if wrong is not None:
            return answer(environ, start_response, wrong, close=True)
        return self._app(environ, start_response)


def _too_much(environ: Environ) -> InvalidRequest | NotFound | None:
    if len(environ.get("QUERY_STRING", "")) > MAX_QUERY:
        return InvalidRequest.field("query", f"is longer than {MAX_QUERY} bytes")
    headers = [value for name, value in environ.items() if name.startswith("HTTP_")]
    if len(headers) > MAX_HEADERS:
        return InvalidRequest.field("headers", f"are more than {MAX_HEADERS}")
    if sum(map(len, headers)) > MAX_HEADER_BYTES:
        return InvalidRequest.field("headers", f"are longer than {MAX_HEADER_BYTES} bytes")
    path = environ.get("PATH_INFO", "")
    if len(path) > MAX_ID and max(map(len, path.split("/"))) > MAX_ID:
        return NotFound("There is nothing at so long a path.")
    return None
