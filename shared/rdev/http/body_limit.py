"""Refuse bodies that are too large, before anything reads them.

As middleware, since under functions-framework Flask's own MAX_CONTENT_LENGTH ends in a 500: the
framework reads the body once more after the error was answered.
"""

import io
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.wrappers import Request

from rdev.errors import PayloadTooLarge
from rdev.http import envelope

_DRAIN_BYTES = 8 * 1024 * 1024

WSGI = Callable[[dict[str, Any], Any], Iterable[bytes]]


class BodyLimit:
    def __init__(self, app: WSGI, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH") or ""
        if length.isdecimal():
            if int(length) > self._max_bytes:
                return self._refuse(environ, start_response)
        elif "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
            body = environ["wsgi.input"].read(self._max_bytes + 1)
            if len(body) > self._max_bytes:
                return self._refuse(environ, start_response)
            environ["wsgi.input"] = io.BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
            environ.pop("HTTP_TRANSFER_ENCODING")
        return self._app(environ, start_response)

    def _refuse(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        # Take some of it: a client that is still sending would see a reset, not the answer.
        left = _DRAIN_BYTES
        while left > 0 and (chunk := environ["wsgi.input"].read(min(65536, left))):
            left -= len(chunk)
        limit = f"{self._max_bytes // 1024} KiB"
        exc = PayloadTooLarge(f"The request body is larger than {limit}.")
        request_id = envelope.presentable_request_id(Request(environ).headers)
        response = envelope.error(exc, envelope.meta_of(request_id))
        response.headers["X-Request-ID"] = request_id
        response.headers["Connection"] = "close"
        return response(environ, start_response)
