"""The operations of `functions/exec`."""

from pydantic import BaseModel

from rdev.http import command_models
from rdev.http.operations import records
from rdev.http.operations.headers import (
    ACCEPT_RANGES,
    APPLIED,
    CONTENT_RANGE,
    IDEMPOTENCY_KEY,
    LOCATION,
    PREFER,
    RANGE,
)
from rdev.http.operations.operation import Answer, Envelope, Operation, many, one

BINARY = {"type": "string", "format": "binary"}
_COMMAND = "/projects/{project_id}/commands/{command_id}"


def _submission(
    kind: str, summary: str, body: type[BaseModel], record: type[BaseModel]
) -> Operation:
    return Operation(
        "POST",
        f"/projects/{{project_id}}/{kind}",
        f"exec.submit_{kind}",
        summary,
        {
            200: one(record, "It ended while you waited.", LOCATION, APPLIED),
            202: one(record, "Safely queued: it runs whatever becomes of you.", LOCATION, APPLIED),
        },
        scope="projects:execute",
        headers=(PREFER, IDEMPOTENCY_KEY),
        body=body,
        errors=("CONFLICT",),
    )


OPERATIONS = (
    _submission(
        "shell", "Run a shell line.", command_models.ShellCommand, records.ShellCommandRecord
    ),
    _submission("git", "Run git.", command_models.GitCommand, records.GitCommandRecord),
    _submission(
        "claude", "Run Claude Code.", command_models.ClaudeCommand, records.ClaudeCommandRecord
    ),
    Operation(
        "GET",
        "/projects/{project_id}/commands",
        "exec.list_commands",
        "List a project's commands, newest first.",
        {200: many(records.Command, "A page of commands.")},
        scope="projects:read",
        query=command_models.CommandsPage,
    ),
    Operation(
        "GET",
        _COMMAND,
        "exec.get_command",
        "Get a command's record.",
        {200: one(records.Command, "The record.")},
        scope="projects:read",
    ),
    Operation(
        "GET",
        f"{_COMMAND}/output",
        "exec.get_output",
        "Get what a command has written so far: raw bytes, or NDJSON by `Accept`; takes `Range`.",
        {
            200: Answer(
                "All of it, as it is now.",
                raw={"application/octet-stream": BINARY, "application/x-ndjson": BINARY},
                headers=(ACCEPT_RANGES,),
            ),
            206: Answer(
                "The part that was asked for.",
                raw={"application/octet-stream": BINARY},
                headers=(CONTENT_RANGE, ACCEPT_RANGES),
            ),
            416: Answer(
                "It would begin beyond the end.",
                records.ErrorBody,
                Envelope.ERROR,
                headers=(CONTENT_RANGE,),
            ),
        },
        scope="projects:read",
        query=command_models.OutputQuery,
        headers=(RANGE,),
        errors=("GONE",),
    ),
    Operation(
        "POST",
        f"{_COMMAND}/cancel",
        "exec.cancel_command",
        "Cancel a command: at once where it waits, TERM and then KILL where it runs.",
        {
            200: one(records.Command, "It has ended."),
            202: one(records.Command, "It was asked to end."),
        },
        scope="projects:execute",
    ),
    Operation(
        "POST",
        f"{_COMMAND}/input",
        "exec.send_input",
        "Send bytes to a running command's stdin, in order and each once; `close` ends it.",
        {202: one(records.AcceptedInput, "They are safely stored.")},
        scope="projects:execute",
        query=command_models.InputQuery,
        body=command_models.InputBody,
        raw_body={"application/octet-stream": BINARY},
        body_required=False,
        errors=("CONFLICT",),
    ),
    Operation(
        "GET",
        "/queue",
        "exec.get_queue",
        "How many commands wait and run, by priority.",
        {200: many(records.QueueDepth, "The three priorities.")},
        scope="projects:read",
    ),
)
