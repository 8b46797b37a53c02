"""Events: a command's or a project's stream, live, over SSE."""

import flask
import functions_framework
from flask import Response, request

from rdev import wiring
from rdev.domain.callers import Caller
from rdev.errors import InvalidRequest
from rdev.http import envelope, parsing
from rdev.http.auth import require, require_ticket
from rdev.http.function import install, no_such_route
from rdev.http.models import EventsQuery
from rdev.http.sse import EventsBlueprint

blueprint = EventsBlueprint("events", __name__)


@blueprint.get("/projects/<project_id>/events")
def stream(project_id: str) -> Response:
    """Stream events: of a command with `stream_id`, else of the whole project. Resumes after
    `Last-Event-ID` or `?after=`."""
    asked = parsing.query(EventsQuery)
    by = _caller(project_id, asked.ticket)
    seen, field = request.headers.get("Last-Event-ID"), "Last-Event-ID"
    if not seen:
        seen, field = asked.after, "after"
    if asked.stream_id is None:
        wiring.projects().find(by, project_id)
        reader = wiring.events().project_reader(project_id, seen, field=field)
        return blueprint.stream_response(reader)
    command = wiring.exec_().get(by, project_id, asked.stream_id)
    of_command = wiring.events().command_reader(project_id, command.id, seen, field=field)
    return blueprint.stream_response(of_command)


@blueprint.post("/projects/<project_id>/events/ticket")
def create_ticket(project_id: str) -> Response:
    """A ticket for `?ticket=`, since a browser's EventSource can send no key. It opens one stream
    of this project, once, within 60 seconds."""
    by = require("projects:read")
    wiring.projects().find(by, project_id)
    ticket = wiring.event_tickets().issue(by, project_id)
    return envelope.data({"ticket": ticket, "expires_in_s": wiring.event_tickets().LIFETIME_S}, 201)


def _caller(project_id: str, ticket: str | None) -> Caller:
    if ticket is None:
        return require("projects:read")
    if "X-API-Key" in request.headers or "Authorization" in request.headers:
        raise InvalidRequest.field("ticket", "send a key or a ticket, not both")
    return require_ticket(ticket, project_id, "projects:read")


install(blueprint)


@functions_framework.http
def events(request: flask.Request) -> Response:
    """Whatever no route above takes."""
    return no_such_route(request)
