"""/health and /ready, which every function has: for what probes it, and for people."""

from flask import Response, current_app

from rdev import __version__, wiring
from rdev.http import envelope


def health() -> Response:
    """Liveness: this process answers. Asks nobody else."""
    return envelope.data({"status": "ok", "version": __version__})


def ready() -> Response:
    """Readiness: what this function needs answers; waits a second at most."""
    status, checks = wiring.ready(current_app.name)
    found = {"status": status, "checks": checks}
    return envelope.data(found, 503 if status == "unavailable" else 200)
