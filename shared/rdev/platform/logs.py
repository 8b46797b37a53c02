"""Logs: structlog over the standard library's, one JSON line an event, or text for people.

Everything that a process says goes this way: gunicorn's lines, warnings, and what ends a thread.
Within a request a line has its id, within a trace that trace's.
"""

import logging
import re
import sys
import threading
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import structlog
from gunicorn.glogging import Logger

from rdev.config import settings
from rdev.domain.redaction import redact_value
from rdev.ports import tracing

log = logging.getLogger(__name__)

Event = MutableMapping[str, Any]

_SHOWN = ("method", "route", "status", "duration_ms")
"""What lines may say beside their text, by `extra`."""
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


def _redact(_logger: object, _method: str, event: Event) -> Event:
    """No secret in any line, whoever wrote it: tracebacks and what is nested included."""
    return {name: redact_value(value, name=name) for name, value in event.items()}


def _say_where(_logger: object, _method: str, event: Event) -> Event:
    """Which request, and which trace: also a caller's, where nothing is traced here."""
    traceparent = tracing.context() or ""
    flask = sys.modules.get("flask")  # not every process has requests
    if flask is not None and flask.has_request_context():
        environ = flask.request.environ
        event["request_id"] = environ.get("rdev.request_id")  # http.envelope's REQUEST_ID
        traceparent = traceparent or environ.get("HTTP_TRACEPARENT", "")
    if found := _TRACEPARENT.fullmatch(traceparent):
        event["trace_id"], event["span_id"] = found.groups()
    return event


def _for_people() -> bool:
    wanted = settings().log_format
    return wanted == "text" or (wanted == "auto" and sys.stderr.isatty())


def configure() -> None:
    """Send this process's log to stderr as the settings say. Below `info` only rdev's own lines:
    libraries tell there of what they send."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(allow=_SHOWN),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _say_where,
    ]
    last: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if _for_people():
        last = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _redact,
            last,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    level = logging.getLevelNamesMapping()[settings().log_level.upper()]
    logging.basicConfig(handlers=[handler], level=max(level, logging.INFO), force=True)
    logging.getLogger("rdev").setLevel(level)
    logging.captureWarnings(capture=True)
    sys.excepthook = _ended_by
    threading.excepthook = _thread_ended_by


def _ended_by(
    kind: type[BaseException], exc: BaseException, traceback: TracebackType | None
) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        log.critical("the process was ended by an error", exc_info=(kind, exc, traceback))


def _thread_ended_by(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None and not issubclass(ended.exc_type, SystemExit):
        name = ended.thread.name if ended.thread else "a thread"
        exc_info = (ended.exc_type, ended.exc_value, ended.exc_traceback)
        log.error("%s was ended by an error", name, exc_info=exc_info)


class GunicornLog(Logger):  # type: ignore[misc] # gunicorn has no annotations
    """gunicorn's own lines, by the way of all others."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in list(self.error_log.handlers):
            self.error_log.removeHandler(handler)
        self.error_log.propagate = True
