"""A command's record as JSON: the same in responses, events and webhooks. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rdev.domain.instants import timestamp
from rdev.domain.timings import timings_of

if TYPE_CHECKING:
    from rdev.domain.commands import Command
    from rdev.domain.workspaces import WorkspaceState


def record_of(command: Command) -> dict[str, Any]:
    path = f"/projects/{command.project_id}/commands/{command.id}"
    return {
        "id": command.id,
        "project": command.project_id,
        "kind": command.kind.value,
        "status": command.status.value,
        "priority": command.priority.value,
        "key_id": command.key_id,
        "stream_id": command.id,
        **command.spec,
        "exit_code": command.exit_code,
        "signal": command.signal,
        "reason": command.reason,
        "reason_message": command.reason_message,
        "waiting_for": command.waiting_for,
        "queued_at": timestamp(command.queued_at),
        "started_at": timestamp(command.started_at),
        "finished_at": timestamp(command.finished_at),
        "duration_ms": _duration_ms(command),
        "timings": timings_of(command),
        "timeout_s": command.timeout_s,
        "cancel_requested_at": timestamp(command.cancel_requested_at),
        "output": {
            "stdout_bytes": command.output.stdout,
            "stderr_bytes": command.output.stderr,
            "sha256": {"stdout": command.stdout_sha256, "stderr": command.stderr_sha256},
            "truncated": command.truncated,
        },
        "usage": dict(command.usage),
        "labels": dict(command.labels),
        "links": {
            "self": path,
            "events": f"/projects/{command.project_id}/events?stream_id={command.id}",
            "output": f"{path}/output",
            "cancel": f"{path}/cancel",
        },
    }


def shown(state: WorkspaceState) -> dict[str, Any]:
    """A workspace's state."""
    return {
        "state": state.state.value,
        "reason": state.reason,
        "message": state.message,
        "observed_at": timestamp(state.observed_at),
        "stale": state.stale,
    }


def _duration_ms(command: Command) -> int | None:
    if command.started_at is None or command.finished_at is None:
        return None
    return max(0, round((command.finished_at - command.started_at).total_seconds() * 1000))
