"""What every endpoint takes and answers, as data: the OpenAPI document is made from these tables.

A table a noun, beside it `records.py` with what the answers look like. No handler imports them:
they cost a cold start nothing. A test holds them to the handlers (one operation a route, the
docstring as summary, the scope as the handler asks for it), and another one to the running system.
"""

from rdev.http.operations import audit, events, keys, projects, system, webhooks
from rdev.http.operations import exec as exec_
from rdev.http.operations.operation import Operation

OPERATIONS: tuple[Operation, ...] = (
    *projects.OPERATIONS,
    *exec_.OPERATIONS,
    *events.OPERATIONS,
    *keys.OPERATIONS,
    *webhooks.OPERATIONS,
    *audit.OPERATIONS,
    *system.OPERATIONS,
)
