"""The envelope of every answer: `data` or `error`, and `meta`. One table: a code, its status."""

import json
from datetime import UTC, datetime
from typing import Any

from flask import Response, request

from rdev.domain.ids import new_id
from rdev.domain.instants import timestamp
from rdev.domain.redaction import redact
from rdev.errors import MethodNotAllowed, RdevError

STATUS = {
    "BAD_REQUEST": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "CONFLICT": 409,
    "GONE": 410,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "TOO_MANY_REQUESTS": 429,
    "INTERNAL_ERROR": 500,
    "SERVICE_UNAVAILABLE": 503,
}

REQUEST_ID = "rdev.request_id"
"""Where a request's environ has it."""
_MAX_REQUEST_ID = 128


def request_id() -> str:
    """This request's id: the caller's `X-Request-ID` where it is presentable, else a new one."""
    return request_id_of(request.environ)


def request_id_of(environ: dict[str, Any]) -> str:
    """The same, also where there is no Flask around."""
    known: str | None = environ.get(REQUEST_ID)
    if known is None:
        asked = environ.get("HTTP_X_REQUEST_ID", "")
        known = environ[REQUEST_ID] = asked if _presentable(asked) else new_id("req")
    return known


def _presentable(asked: str) -> bool:
    usable = 0 < len(asked) <= _MAX_REQUEST_ID and asked.isascii() and asked.isprintable()
    # It is written down in many places: what looks like a secret is none to be.
    return usable and redact(asked) == asked


def meta(**more: Any) -> dict[str, Any]:
    return meta_of(request_id(), **more)


def meta_of(request_id: str, **more: Any) -> dict[str, Any]:
    return {"request_id": request_id, "timestamp": timestamp(datetime.now(UTC)), **more}


def data(value: Any, status: int = 200, **more: Any) -> Response:
    """One thing (an object) or a list (then pass `next_cursor`)."""
    return _json({"data": value, "meta": meta(**more)}, status)


def error(exc: RdevError, request_meta: dict[str, Any] | None = None) -> Response:
    body: dict[str, Any] = {"code": exc.code, "message": exc.message}
    if exc.details:
        body["details"] = [{"field": d.field, "message": d.message} for d in exc.details]
    response = _json({"error": body, "meta": request_meta or meta()}, STATUS[exc.code])
    if exc.retry_after_s is not None:
        response.headers["Retry-After"] = str(exc.retry_after_s)
    if isinstance(exc, MethodNotAllowed) and exc.allowed:
        response.headers["Allow"] = ", ".join(exc.allowed)
    if response.status_code == STATUS["UNAUTHORIZED"]:
        response.headers["WWW-Authenticate"] = 'Bearer realm="rdev"'
    return response


def _json(body: dict[str, Any], status: int) -> Response:
    return Response(json.dumps(body), status, mimetype="application/json")
