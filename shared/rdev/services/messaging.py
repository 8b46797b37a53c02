"""How spans tell of the queue, as OpenTelemetry's conventions for messaging have it."""

from rdev.domain.commands import Priority
from rdev.ports.tracing import Value


def messaging(priority: Priority, command_id: str, operation: str) -> dict[str, Value]:
    """`operation` is send or process."""
    return {
        "messaging.system": "rdev",
        "messaging.destination.name": f"commands.{priority.value}",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.message.id": command_id,
    }
