"""System: metrics, the API's own description, and /health and /ready for the whole deployment,
which every function has for itself."""

import flask
import functions_framework
from flask import Blueprint, Response

from rdev.http.auth import require
from rdev.http.function import install, no_such_route

blueprint = Blueprint("system", __name__)


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """This API as an OpenAPI 3.1 document."""
    from rdev.http.openapi import as_json

    require()
    return Response(as_json(), mimetype="application/json")


install(blueprint)


@functions_framework.http
def system(request: flask.Request) -> Response:
    """Whatever no route above takes."""
    return no_such_route(request)
