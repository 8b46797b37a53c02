"""Exec: queue shell, git and Claude commands; read and cancel them. What a route alone uses is
loaded with its first request: the function starts cold."""

from typing import Any

import flask
import functions_framework
from flask import Blueprint, Response, request

from rdev import wiring
from rdev.domain.commands import Command, Kind
from rdev.domain.records import record_of
from rdev.errors import InvalidRequest
from rdev.http import envelope, parsing
from rdev.http.auth import require
from rdev.http.function import install, no_such_route

blueprint = Blueprint("exec", __name__)

_MAX_IDEMPOTENCY_KEY = 255


@blueprint.post("/projects/<project_id>/shell", defaults={"kind": Kind.SHELL})
@blueprint.post("/projects/<project_id>/git", defaults={"kind": Kind.GIT})
@blueprint.post("/projects/<project_id>/claude", defaults={"kind": Kind.CLAUDE})
def submit(project_id: str, kind: Kind) -> Response:
    """Queue a command. `Prefer: wait=N` waits up to N seconds for its end."""
    from rdev.http.command_models import COMMANDS
    from rdev.http.prefer import wait_s

    by = require("projects:execute")
    asked = parsing.body(COMMANDS[kind])
    patience_s = wait_s(request.headers.get("Prefer", ""))
    command = wiring.exec_().submit(
        by,
        project_id,
        asked.wish(kind),
        idempotency_key=_idempotency_key(),
        request_body=request.get_data(),
    )
    if patience_s:
        wiring.events().wait_finished(project_id, command.id, patience_s)
        command = wiring.exec_().get(by, project_id, command.id)
    response = envelope.data(record_of(command), 200 if command.status.final else 202)
    response.headers["Location"] = f"/projects/{project_id}/commands/{command.id}"
    if patience_s:
        response.headers["Preference-Applied"] = f"wait={patience_s:g}"
    return response


@blueprint.get("/projects/<project_id>/commands")
def list_commands(project_id: str) -> Response:
    """List a project's commands, newest first."""
    from rdev.http.command_models import CommandsPage

    by = require("projects:read")
    page = parsing.query(CommandsPage)
    found = wiring.exec_().list(
        by,
        project_id,
        before=page.cursor,
        limit=page.limit + 1,
        status=page.status,
        kind=page.kind,
        key_id=page.key,
        since=page.since,
    )
    shown = found[: page.limit]
    cursor = shown[-1].id if len(found) > page.limit else None
    return envelope.data([record_of(command) for command in shown], next_cursor=cursor)


@blueprint.get("/projects/<project_id>/commands/<command_id>")
def get_command(project_id: str, command_id: str) -> Response:
    """Get a command's record."""
    return envelope.data(record_of(_seen(project_id, command_id)))


@blueprint.get("/projects/<project_id>/commands/<command_id>/output")
def get_output(project_id: str, command_id: str) -> Any:
    """Get what a command has written so far: raw bytes, or NDJSON by `Accept`; takes `Range`."""
    from rdev.http.command_models import OutputQuery
    from rdev.http.output import output_response

    command = _seen(project_id, command_id)
    asked = parsing.query(OutputQuery)
    return output_response(wiring.events(), command, asked.stream)


@blueprint.post("/projects/<project_id>/commands/<command_id>/cancel")
def cancel_command(project_id: str, command_id: str) -> Response:
    """Cancel a command: at once where it waits, TERM and then KILL where it runs. Idempotent."""
    by = require("projects:execute")
    command = wiring.exec_().cancel(by, project_id, command_id)
    return envelope.data(record_of(command), 200 if command.status.final else 202)


@blueprint.post("/projects/<project_id>/commands/<command_id>/input")
def send_input(project_id: str, command_id: str) -> Response:
    """Send bytes to a running command's stdin, in order and each once; `close` ends it."""
    from rdev.http.input import piece

    by = require("projects:execute")
    asked = piece()
    accepted = wiring.input_().send(
        by, project_id, command_id, asked.data, offset=asked.offset, close=asked.close
    )
    data = {"id": command_id, "offset": accepted.offset, "closed": accepted.closed}
    return envelope.data(data, 202)


@blueprint.get("/queue")
def get_queue() -> Response:
    """How many commands wait and run, by priority."""
    require("projects:read")
    return envelope.data(list(wiring.exec_().queue()), next_cursor=None)


def _seen(project_id: str, command_id: str) -> Command:
    by = require("projects:read")
    return wiring.exec_().get(by, project_id, command_id)


def _idempotency_key() -> str | None:
    value = request.headers.get("Idempotency-Key")
    if value is None:
        return None
    if not (value.isascii() and value.isprintable() and 0 < len(value) <= _MAX_IDEMPOTENCY_KEY):
        message = f"must be 1 to {_MAX_IDEMPOTENCY_KEY} printable ASCII characters"
        raise InvalidRequest.field("Idempotency-Key", message)
    return value


install(blueprint)


@functions_framework.http
def exec(request: flask.Request) -> Response:  # noqa: A001 - the noun, and the target's name
    """Whatever no route above takes."""
    return no_such_route(request)
