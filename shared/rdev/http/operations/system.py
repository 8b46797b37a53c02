"""The operations of `functions/system`."""

from rdev.http.operations import records
from rdev.http.operations.operation import JSON, Answer, Operation, one

OPERATIONS = (
    Operation(
        "GET",
        "/health",
        "system.health",
        "Liveness: this process answers.",
        {200: one(records.Health, "It does. Nobody else was asked.")},
        needs_key=False,
    ),
    Operation(
        "GET",
        "/ready",
        "system.ready",
        "Readiness: what this function needs answers; waits a second at most.",
        {
            200: one(records.Ready, "It does; `degraded`: what does not is not needed to serve."),
            503: one(records.Ready, "Something that is needed does not."),
        },
        needs_key=False,
    ),
    Operation(
        "GET",
        "/metrics",
        "system.metrics",
        "Prometheus metrics of this process and of those beside it.",
        {200: Answer("As text.", raw={"text/plain": {"type": "string"}})},
        needs_key=False,
    ),
    Operation(
        "GET",
        "/openapi.json",
        "system.openapi",
        "This API as an OpenAPI 3.1 document.",
        {200: Answer("The document, without an envelope.", raw={JSON: {"type": "object"}})},
    ),
)
