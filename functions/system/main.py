"""System: health, readiness, metrics, and the API's own description."""

import flask
import functions_framework
from flask import Blueprint, Response

from rdev import __version__, wiring
from rdev.http import envelope
from rdev.http.auth import require
from rdev.http.function import install, no_such_route

blueprint = Blueprint("system", __name__)


@blueprint.get("/health")
def health() -> Response:
    """Liveness: this process answers. Asks nobody else."""
    return envelope.data({"status": "ok", "version": __version__})


@blueprint.get("/ready")
def ready() -> Response:
    """Readiness: the stores answer, each within a second."""
    checks = wiring.readiness()
    ok = all(check["status"] == "ok" for check in checks.values())
    return envelope.data(
        {"status": "ok" if ok else "unavailable", "checks": checks}, 200 if ok else 503
    )


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """This API as an OpenAPI 3.1 document."""
    from rdev.http.operations.document import as_json

    require()
    return Response(as_json(), mimetype="application/json")


install(blueprint)


@functions_framework.http
def system(request: flask.Request) -> Response:
    """Whatever no route above takes."""
    return no_such_route(request)
