"""`rdev show`: one command's record, with the times between its steps."""

from typing import TYPE_CHECKING

from rdev.cli import options, show
from rdev.cli.connection import connected
from rdev.cli.logs import Target, find, parse_target

if TYPE_CHECKING:
    from rdev.client import Command


def show_command(
    target: Target,
    *,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Show how a command stands, and where its time went."""
    project, command_id = parse_target(target)
    with connected(server, key_file) as client:
        command = find(client, project, command_id)
    if as_json:
        show.as_json(command.raw)
    else:
        show.table(("", ""), _rows(command))


def _rows(command: "Command") -> list[tuple[str, str | None]]:
    facts: dict[str, object] = {
        "id": command.id,
        "project": command.project,
        "kind": command.kind,
        "status": command.status,
        "exit_code": command.exit_code,
        "signal": command.signal,
        "reason": command.reason,
        "reason_message": command.reason_message,
        "waiting_for": command.waiting_for,
        "queued_at": command.queued_at,
        "started_at": command.started_at,
        "finished_at": command.finished_at,
        "duration_ms": command.duration_ms,
        **command.timings,
        "stdout_bytes": command.stdout_bytes,
        "stderr_bytes": command.stderr_bytes,
    }
    return [(name, None if value is None else str(value)) for name, value in facts.items()]
