"""Logs: structlog over the standard library's, one JSON line an event, or text for people."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from rdev.config import settings
from rdev.domain.redaction import redact_value


def _redact(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """No secret in any line, whoever wrote it: tracebacks and what is nested included."""
    return {name: redact_value(value, name=name) for name, value in event.items()}


def configure() -> None:
    """Send this process's log to stderr as the settings say."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if settings().log_format == "text":
        last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
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
    logging.basicConfig(handlers=[handler], level=settings().log_level.upper(), force=True)
