"""What channel 3 of an exec says: how its process ended. Pure: no sockets.

The rule is remotecommand's v4, which v5 kept: a Kubernetes Status as JSON. Success is exit code 0;
a Failure whose details have the cause ExitCode is that code; any other Failure is the cluster's own
trouble, and no exit code at all.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_EXIT_CODE = re.compile(r"[0-9]{1,10}")
_SAID_CHARS = 1000


@dataclass(frozen=True, slots=True)
class ExecStatus:
    """`exit_code`: None where the cluster says that something else went wrong; then `message` holds
    its words (no such program, no such container, …) and `reason` the Status' own."""

    exit_code: int | None
    message: str = ""
    reason: str = ""


class ExecEnded(Exception):
    """The exec is over, and channel 3 said how."""

    def __init__(self, status: ExecStatus) -> None:
        super().__init__(
            f"exit code {status.exit_code}" if status.exit_code is not None else status.message
        )
        self.status = status


def exec_status(said: bytes) -> ExecStatus | None:
    """None for whatever is no Status: then nothing is known."""
    try:
        status = json.loads(said)
    except (ValueError, RecursionError):
        return None
    if not isinstance(status, dict):
        return None
    if status.get("status") == "Success":
        return ExecStatus(0)
    if status.get("status") != "Failure":
        return None
    message, reason = _text(status.get("message")), _text(status.get("reason"))
    return ExecStatus(_exit_code(status), message or reason or "no reason given", reason)


def _exit_code(status: dict[str, Any]) -> int | None:
    for cause in _causes(status):
        said = cause.get("message")
        if cause.get("reason") == "ExitCode" and isinstance(said, str):
            # A failure is never 0, whoever says so.
            return int(said) or None if _EXIT_CODE.fullmatch(said) else None
    return None


def _causes(status: dict[str, Any]) -> Iterator[dict[str, Any]]:
    details = status.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    if isinstance(causes, list):
        yield from (cause for cause in causes if isinstance(cause, dict))


def _text(said: object) -> str:
    return said[:_SAID_CHARS] if isinstance(said, str) else ""
