"""`/metrics`, which every function answers; the public one is that of `system`."""

from flask import Response

from rdev import wiring

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics() -> Response:
    """Prometheus metrics of this process and of those beside it."""
    return Response(wiring.telemetry().exposition(), content_type=_CONTENT_TYPE)
