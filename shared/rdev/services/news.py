"""What webhooks tell of each fact: for whoever wants to be told, in the transaction that makes it
true. Never a secret: no env, no stdin, nothing of a key's but what its record shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rdev.domain.instants import timestamp
from rdev.domain.records import record_of

if TYPE_CHECKING:
    from rdev.domain.commands import Command
    from rdev.domain.keys import Key
    from rdev.domain.projects import Project
    from rdev.domain.webhooks import Endpoint
    from rdev.ports import Transaction


def command(tx: Transaction, word: str, command: Command) -> None:
    """`word` is queued, started or finished."""
    tx.outbox.add(f"command.{word}", record_of(command), project_id=command.project_id)


def project_created(tx: Transaction, project: Project) -> None:
    data = {
        "id": project.id,
        "created_at": timestamp(project.created_at),
        "links": {"self": f"/projects/{project.id}"},
    }
    tx.outbox.add("project.created", data, project_id=project.id)


def project_started(tx: Transaction, project_id: str) -> None:
    data = {"id": project_id, "links": {"self": f"/projects/{project_id}"}}
    tx.outbox.add("project.started", data, project_id=project_id)


def project_stopped(tx: Transaction, project_id: str, why: str) -> None:
    """`why` is asked or idle."""
    data = {"id": project_id, "why": why, "links": {"self": f"/projects/{project_id}"}}
    tx.outbox.add("project.stopped", data, project_id=project_id)


def project_deleted(tx: Transaction, project_id: str) -> None:
    tx.outbox.add("project.deleted", {"id": project_id}, project_id=project_id)


def key(tx: Transaction, word: str, key: Key) -> None:
    """`word` is created, rotated or revoked. Keys belong to no project: only endpoints of all
    projects hear of them."""
    data = {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "projects": list(key.projects),
        "created_at": timestamp(key.created_at),
        "created_by": key.created_by,
        "expires_at": timestamp(key.expires_at),
        "revoked_at": timestamp(key.revoked_at),
        "links": {"self": f"/keys/{key.id}"},
    }
    tx.outbox.add(f"key.{word}", data)


def endpoint_disabled(tx: Transaction, endpoint: Endpoint) -> None:
    from rdev.domain.webhooks import ENDPOINT_DISABLED

    tx.outbox.add(ENDPOINT_DISABLED, described(endpoint))


def described(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint as events and the audit log tell of it: its address may be a secret."""
    return {
        "id": endpoint.id,
        "description": endpoint.description,
        "events": list(endpoint.events),
        "projects": list(endpoint.projects),
        "status": endpoint.status,
        "reason": endpoint.health.disabled_reason,
        "links": {"self": f"/webhooks/{endpoint.id}"},
    }
