"""How a command's events and its end look to the shell that asked for it. Pure but for writing."""

import json
from typing import TYPE_CHECKING

from rdev.cli.terminal import STDERR, STDOUT, complain, write_all

if TYPE_CHECKING:
    from rdev.client import Command, Event

INTERRUPTED = 130
_WITHOUT_EXIT_CODE = {"succeeded": 0, "cancelled": INTERRUPTED, "timed_out": 124, "lost": 125}


def exit_code_of(command: "Command") -> int:
    """The shell's view of an end. A status that is no natural end outranks the exit code: a
    command that was killed may still have said 0."""
    if command.status in ("succeeded", "failed") and command.exit_code:
        return command.exit_code & 0xFF
    return _WITHOUT_EXIT_CODE.get(command.status, 1)


def remark_on(command: "Command") -> str | None:
    """What the exit code alone does not tell; None for a natural end."""
    if command.status == "succeeded" or (command.status == "failed" and command.exit_code):
        return "the output was cut at its limit" if command.truncated else None
    words = {
        "failed": "failed without an exit code",
        "cancelled": "was cancelled",
        "timed_out": "ran into its timeout",
        "lost": "is lost: it was started, and nobody can say how it ended",
    }
    word = words.get(command.status, command.status)
    reason = f" ({command.reason})" if command.reason else ""
    message = f": {command.reason_message}" if command.reason_message else ""
    return f"{command.id} {word}{reason}{message}"


def write_event(event: "Event", *, as_json: bool) -> None:
    """Output to where it belongs; or each event as a line of JSON. Raises BrokenPipeError."""
    from rdev.client import Gap, Output

    if as_json:
        line = json.dumps({"id": event.id, "type": event.type, "data": event.data})
        write_all(STDOUT, line.encode() + b"\n")
    elif isinstance(event, Output):
        write_all(STDERR if event.stream == "stderr" else STDOUT, event.content)
    elif isinstance(event, Gap):
        complain(f"some output can no longer be had ({event.reason})")
    elif event.type == "claude.message":
        write_all(STDOUT, json.dumps(event.data.get("message", event.data)).encode() + b"\n")
