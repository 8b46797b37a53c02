"""The only place that knows adapters and services both: a module for each group of parts."""

from rdev.wiring.access import audit, authentication, denials, keys
from rdev.wiring.commands import (
    event_tickets,
    events,
    exec_,
    input_,
    lifecycle,
    projects,
)
from rdev.wiring.delivering import (
    delivery_log,
    resident_deliveries,
    stop_woken_deliveries,
    wake_deliveries,
    webhooks,
)
from rdev.wiring.health import ready
from rdev.wiring.runner import resident_runner, stop_woken_runners, wake_runner
from rdev.wiring.telemetry import end_telemetry, telemetry

__all__ = [
    "audit",
    "authentication",
    "delivery_log",
    "denials",
    "end_telemetry",
    "event_tickets",
    "events",
    "exec_",
    "input_",
    "keys",
    "lifecycle",
    "projects",
    "ready",
    "resident_deliveries",
    "resident_runner",
    "stop_woken_deliveries",
    "stop_woken_runners",
    "telemetry",
    "wake_deliveries",
    "wake_runner",
    "webhooks",
]
