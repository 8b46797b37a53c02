"""Refuse bodies that are too large or take too long to arrive, before anything reads them.

As middleware, since under functions-framework Flask's own MAX_CONTENT_LENGTH ends in a 500: the
framework reads the body once more after the error was answered.
"""

import io
from collections.abc import Iterable
from typing import Any

from rdev.errors import InvalidRequest, PayloadTooLarge
from rdev.http.middleware import WSGI, Environ, answer
from rdev.http.slow_clients import hurry

_DRAIN_BYTES = 8 * 1024 * 1024


class _Broken(Exception):
    """The body ended before its end."""


class BodyLimit:
    def __init__(self, app: WSGI, max_bytes: int, timeout_s: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH") or ""
        chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
        if not chunked and (not length.isdecimal() or length == "0"):
            return self._app(environ, start_response)
        try:
            with hurry(environ, self._timeout_s):
                body = self._body(environ, None if chunked else int(length))
        except _Broken:
            exc = InvalidRequest.field(
                "body", f"broke off, or did not arrive within {self._timeout_s:g} s"
            )
            return answer(environ, start_response, exc, close=True)
        if body is None:
            exc_large = PayloadTooLarge(
                f"The request body is larger than {self._max_bytes // 1024} KiB."
            )
            return answer(environ, start_response, exc_large, close=True)
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        return self._app(environ, start_response)

    def _body(self, environ: Environ, length: int | None) -> bytes | None:
        """All of it, of `length` bytes where that is known; None where it is too large."""
        source = environ["wsgi.input"]
        wanted = self._max_bytes + 1 if length is None else min(length, self._max_bytes + 1)
        try:
            body: bytes = source.read(wanted)
            if len(body) > self._max_bytes:
                _drain(source)
                return None
        except Exception as exc:  # each server has its own for a body that is none
            raise _Broken from exc
        if length is not None and len(body) < length:
            raise _Broken
        return body


def _drain(source: Any) -> None:
    """Take some of it: a client that is still sending would see a reset, not the answer."""
    left = _DRAIN_BYTES
    while left > 0 and (chunk := source.read(min(65536, left))):
        left -= len(chunk)
