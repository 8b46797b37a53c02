"""What every function shares: its blueprint on functions-framework's own app, and what answers
where no rule matches or something breaks."""

import logging
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import flask
from flask import Blueprint, Response, current_app, g, request
from werkzeug.exceptions import HTTPException

from rdev.config import settings
from rdev.errors import InvalidRequest, MethodNotAllowed, NotFound, PayloadTooLarge, RdevError
from rdev.http import denials, envelope, exposition, probes, rate_limit, tracing
from rdev.http.hardening import hardened
from rdev.http.middleware import METHODS, MORE_HEADERS, WSGI, Environ
from rdev.ports import metrics
from rdev.ports.measuring import OTHER

log = logging.getLogger(__name__)

_CATCH_ALL = ("run", "error")


def install(blueprint: Blueprint) -> None:
    """Make the module that is being loaded a function: call it once, last, at its import, while
    functions-framework holds the app context. Opens no socket, file or thread."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    app.register_blueprint(blueprint)
    app.add_url_rule("/health", "system.health", probes.health)
    app.add_url_rule("/ready", "system.ready", probes.ready)
    app.add_url_rule("/metrics", "system.metrics", exposition.metrics)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.before_request(_begin)
    app.after_request(_conclude)
    app.register_error_handler(Exception, _answer_error)
    app.wsgi_app = tracing.Traced(hardened(_named(app.wsgi_app), settings()))


def no_such_route(_request: flask.Request) -> Response:
    """What a function's target answers: the framework sends it all that no rule took."""
    allowed = tuple(method for method in METHODS if _takes(method))
    if allowed:
        raise MethodNotAllowed(
            f"{request.path} does not take {request.method}, only {', '.join(allowed)}.",
            allowed=allowed,
        )
    raise NotFound(f"There is nothing at {request.path}.")


def _takes(method: str) -> bool:
    adapter = current_app.create_url_adapter(request)
    assert adapter is not None
    try:
        endpoint, _ = adapter.match(request.path, method=method)
    except HTTPException:
        return False
    return endpoint not in _CATCH_ALL


def _named(app: WSGI) -> WSGI:
    """The framework makes up an id for each execution that has none, one character at a time."""

    def named(environ: Environ, start_response: Any) -> Iterable[bytes]:
        environ.setdefault("HTTP_FUNCTION_EXECUTION_ID", envelope.request_id_of(environ))
        return app(environ, start_response)

    return named


def _begin() -> None:
    g.began = time.perf_counter()
    if "\0" in request.path:  # in no id, and Postgres takes it in no parameter
        raise NotFound("There is nothing at a path with a NUL character.")


def _conclude(response: Response) -> Response:
    # The objects themselves: each look through Flask's proxies costs a microsecond.
    asked = request._get_current_object()  # type: ignore[attr-defined]
    known = g._get_current_object()
    request_id = envelope.request_id_of(asked.environ)
    headers = [("X-Request-ID", request_id)]
    if "Cache-Control" not in response.headers:
        headers.append(("Cache-Control", "no-store"))
    if (window := known.get("window")) is not None:
        headers += rate_limit.headers(window)
    asked.environ[MORE_HEADERS] = headers
    route = _shown(_route(asked))
    tracing.conclude(asked.environ, route, response.status_code, request_id)
    function, method = current_app.name, asked.method if asked.method in METHODS else OTHER
    metrics.HTTP_REQUESTS.add(function, route, method, str(response.status_code))
    took_s = time.perf_counter() - known.began
    if log.isEnabledFor(logging.DEBUG):
        said = {"method": method, "route": route, "status": response.status_code}
        log.debug("answered", extra={**said, "duration_ms": round(took_s * 1000, 1)})
    # Who asked to wait for a command's end waits for the command, not for us.
    if not response.is_streamed and "Preference-Applied" not in response.headers:
        metrics.HTTP_DURATION.record(took_s, function, route, method)
    return response


def _route(asked: flask.Request) -> str:
    """The rule, not the path: paths carry ids, and ids must not become labels."""
    rule = asked.url_rule
    return "none" if rule is None or rule.endpoint in _CATCH_ALL else rule.rule


@lru_cache(maxsize=256)
def _shown(rule: str) -> str:
    """As the API's document writes it."""
    return rule.replace("<", "{").replace(">", "}")


def _answer_error(exc: Exception) -> Response:
    if isinstance(exc, RdevError):
        denials.note(exc, _route(request))
        return envelope.error(exc)
    if isinstance(exc, HTTPException):
        return envelope.error(_from_werkzeug(exc))
    log.error("request %s failed", envelope.request_id(), exc_info=exc)
    return envelope.error(RdevError())


def _from_werkzeug(exc: HTTPException) -> RdevError:
    known: dict[int | None, Any] = {404: NotFound, 405: MethodNotAllowed, 413: PayloadTooLarge}
    made = known.get(exc.code, InvalidRequest if (exc.code or 500) < 500 else RdevError)  # noqa: PLR2004
    return made() if made is not InvalidRequest else InvalidRequest(exc.description)
