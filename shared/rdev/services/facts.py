"""What happened: each fact is written down in the transaction that makes it true, for the audit log
and for whoever subscribed to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rdev.domain.audit import AuditEntry
from rdev.domain.instants import timestamp
from rdev.domain.redaction import redact
from rdev.services import news

if TYPE_CHECKING:
    from rdev.domain.callers import Caller
    from rdev.domain.commands import Command
    from rdev.domain.keys import Key
    from rdev.domain.projects import Deletion, Project
    from rdev.domain.webhooks import Delivery, Endpoint
    from rdev.ports import Transaction

_MAX_TEXT = 16_384
_LOOKED_AT = _MAX_TEXT + 4096
"""More than is kept: a secret that was cut in two would not look like one. So text is redacted
here before it is cut; the log itself does so with everything."""


def key_created(tx: Transaction, by: Caller, key: Key) -> None:
    _by(tx, by, "key.created", key.id, details=_held(key))
    news.key(tx, "created", key)


def key_revoked(tx: Transaction, by: Caller, key: Key) -> None:
    _by(tx, by, "key.revoked", key.id, details={"name": key.name})
    news.key(tx, "revoked", key)


def key_rotated(tx: Transaction, by: Caller, key: Key) -> None:
    until = timestamp(key.previous_expires_at)
    _by(tx, by, "key.rotated", key.id, details={"name": key.name, "previous_expires_at": until})
    news.key(tx, "rotated", key)


def command_queued(tx: Transaction, by: Caller, command: Command, env: Iterable[str] = ()) -> None:
    """Of `env` the names alone: values may be secrets."""
    details = {**_asked(tx.audit.command_text, command), "env": sorted(env)}
    _by(tx, by, "command.queued", command.id, command.project_id, details=details)
    news.command(tx, "queued", command)


def command_started(tx: Transaction, command: Command) -> None:
    tx.audit.append(_of(command, "command.started"))
    news.command(tx, "started", command)


def command_requeued(tx: Transaction, command: Command, failures: int) -> None:
    """Claimed, not started, and put back; the runner's log says why."""
    tx.audit.append(_of(_queued(command), "command.requeued", {"failures": failures}))


def command_waits(tx: Transaction, command: Command) -> None:
    """Put back for the first time because its workspace is not there yet."""
    tx.audit.append(_of(_queued(command), "command.waiting"))


def _queued(command: Command) -> Command:
    from rdev.domain.commands import Status

    return replace(command, status=Status.QUEUED)


def command_cancel_requested(tx: Transaction, by: Caller, command: Command) -> None:
    _by(tx, by, "command.cancel_requested", command.id, command.project_id)


def command_finished(tx: Transaction, command: Command) -> None:
    tx.audit.append(_of(command, "command.finished", _ended(command)))
    news.command(tx, "finished", command)


def project_created(tx: Transaction, by: Caller, project: Project) -> None:
    asked = {"git_url": project.git_url or "", "env": sorted(project.env)}
    if project.template is not None:
        asked["template"] = project.template
    _by(tx, by, "project.created", project.id, project.id, details=asked)
    news.project_created(tx, project)


def project_discovered(tx: Transaction, project: Project) -> None:
    """By nobody: it carried the label."""
    _by_nobody(tx, "project.discovered", project.id, project.id)
    news.project_created(tx, project)


def project_started(tx: Transaction, by: Caller, project_id: str) -> None:
    _by(tx, by, "project.started", project_id, project_id)
    news.project_started(tx, project_id)


def project_woken(tx: Transaction, command: Command) -> None:
    """Started by a command that came."""
    details = {"command": command.id}
    tx.audit.append(
        AuditEntry(
            "project.started",
            command.key_id,
            project_id=command.project_id,
            subject=command.project_id,
            details=details,
        )
    )
    news.project_started(tx, command.project_id)


def project_stopped(tx: Transaction, by: Caller, project_id: str) -> None:
    _by(tx, by, "project.stopped", project_id, project_id)
    news.project_stopped(tx, project_id, "asked")


def project_idle(tx: Transaction, project_id: str) -> None:
    """Stopped by rdev itself, for it had no command for a while."""
    _by_nobody(tx, "project.stopped", project_id, project_id, {"why": "idle"})
    news.project_stopped(tx, project_id, "idle")


def project_delete_requested(tx: Transaction, by: Caller, project_id: str) -> None:
    _by(tx, by, "project.delete_requested", project_id, project_id)


def project_deleted(tx: Transaction, project_id: str, deletion: Deletion) -> None:
    """By whom it was asked for first, whoever saw it through."""
    tx.audit.append(
        AuditEntry(
            "project.deleted",
            deletion.key_id,
            key_name=deletion.key_name,
            address=deletion.address,
            request_id=deletion.request_id,
            project_id=project_id,
            subject=project_id,
        )
    )
    news.project_deleted(tx, project_id)


def endpoint_created(tx: Transaction, by: Caller, endpoint: Endpoint) -> None:
    _by(tx, by, "endpoint.created", endpoint.id, details=news.described(endpoint))


def endpoint_changed(tx: Transaction, by: Caller, endpoint: Endpoint) -> None:
    _by(tx, by, "endpoint.changed", endpoint.id, details=news.described(endpoint))


def endpoint_deleted(tx: Transaction, by: Caller, endpoint: Endpoint) -> None:
    _by(tx, by, "endpoint.deleted", endpoint.id, details=news.described(endpoint))


def endpoint_rotated(tx: Transaction, by: Caller, endpoint: Endpoint) -> None:
    _by(tx, by, "endpoint.rotated", endpoint.id)


def endpoint_tested(tx: Transaction, by: Caller, endpoint: Endpoint, delivery_id: str) -> None:
    _by(tx, by, "endpoint.tested", endpoint.id, details={"delivery": delivery_id})


def endpoint_recovered(tx: Transaction, by: Caller, endpoint: Endpoint, count: int) -> None:
    _by(tx, by, "endpoint.recovered", endpoint.id, details={"deliveries": count})


def delivery_repeated(tx: Transaction, by: Caller, delivery: Delivery) -> None:
    _by(tx, by, "delivery.repeated", delivery.id)


def endpoint_disabled(tx: Transaction, endpoint: Endpoint) -> None:
    _by_nobody(tx, "endpoint.disabled", endpoint.id, details=news.described(endpoint))
    news.endpoint_disabled(tx, endpoint)


def _by(
    tx: Transaction,
    by: Caller,
    action: str,
    subject: str,
    project_id: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    tx.audit.append(
        AuditEntry(
            action,
            by.key.id,
            key_name=by.key.name,
            address=by.address,
            request_id=by.request_id,
            project_id=project_id,
            subject=subject,
            details=details or {},
        )
    )


def _by_nobody(
    tx: Transaction,
    action: str,
    subject: str,
    project_id: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """What rdev does by itself."""
    tx.audit.append(
        AuditEntry(action, None, project_id=project_id, subject=subject, details=details or {})
    )


def _of(command: Command, action: str, details: Mapping[str, Any] | None = None) -> AuditEntry:
    """Of what a runner did: for the command's key, which called from where the row of its queueing
    says."""
    return AuditEntry(
        action,
        command.key_id,
        project_id=command.project_id,
        subject=command.id,
        outcome=command.status,
        details=details or {},
    )


def _asked(policy: str, command: Command) -> dict[str, Any]:
    spec = command.spec
    asked: dict[str, Any] = {"kind": command.kind, "cwd": spec.get("cwd", ".")}
    text = spec.get("command") or spec.get("prompt") or "\0".join(spec.get("args", ()))
    if policy == "hashed":
        asked["text_sha256"] = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    elif policy == "full":
        shown = redact(text[:_LOOKED_AT].replace("\0", " "))[:_MAX_TEXT]
        asked |= {"text": shown, "cut": True} if len(text) > _MAX_TEXT else {"text": shown}
    return asked


def _ended(command: Command) -> dict[str, Any]:
    ended = {
        "exit_code": command.exit_code,
        "signal": command.signal,
        "reason": command.reason,
        "stdout_bytes": command.output.stdout,
        "stderr_bytes": command.output.stderr,
        "stdout_sha256": command.stdout_sha256,
        "stderr_sha256": command.stderr_sha256,
        "truncated": command.truncated,
        "usage": dict(command.usage),
    }
    return {name: value for name, value in ended.items() if value is not None}


def _held(key: Key) -> dict[str, Any]:
    return {
        "name": key.name,
        "scopes": list(key.scopes),
        "projects": list(key.projects),
        "allowed_ips": [str(network) for network in key.allowed_ips],
        "rate_limit": key.rate_limit,
        "max_concurrent": key.max_concurrent,
        "expires_at": timestamp(key.expires_at),
    }
