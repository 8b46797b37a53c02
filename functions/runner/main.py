"""Runner: takes commands from the queue and sees them through, inside a request.

Woken by a CloudEvent (`dev.rdev.command.queued.v1`, `dev.rdev.sweep.v1`) or any POST; what the
event carries does not matter, since the rows are the truth. Answers 204 without a body: a Broker
takes anything else for a failed delivery, and repeats it.
"""

import flask
import functions_framework
from flask import Blueprint, Response

from rdev import wiring
from rdev.http.function import install, no_such_route

blueprint = Blueprint("runner", __name__)


@blueprint.post("/")
def wake() -> Response:
    """Drain the queue until nothing is eligible or the time is over; hand over what still runs."""
    wiring.wake_runner()
    return Response(status=204)


install(blueprint)


@functions_framework.http
def runner(request: flask.Request) -> Response:
    """Whatever no route above takes."""
    return no_such_route(request)
