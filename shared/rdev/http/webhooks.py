"""Endpoints, deliveries and attempts as the API shows them: no secret, and no header's value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rdev.domain.instants import timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rdev.domain.webhooks import Attempt, Delivery, Endpoint, Secret
    from rdev.services.delivery_log import FullDelivery


def endpoint_shown(endpoint: Endpoint, secrets: Sequence[Secret] | None = None) -> dict[str, Any]:
    health = endpoint.health
    path = f"/webhooks/{endpoint.id}"
    shown = {
        "id": endpoint.id,
        "url": endpoint.url,
        "events": list(endpoint.events),
        "projects": list(endpoint.projects),
        "description": endpoint.description,
        "headers": sorted(endpoint.headers),
        "max_concurrent": endpoint.max_concurrent,
        "status": endpoint.status,
        "paused": endpoint.paused,
        "enabled": endpoint.enabled,
        "disabled_at": timestamp(health.disabled_at),
        "disabled_reason": health.disabled_reason,
        "health": {
            "failures": health.failures,
            "failing_since": timestamp(health.failing_since),
            "waits_until": timestamp(health.blocked_until),
            "last_success_at": timestamp(health.last_success_at),
            "last_failure_at": timestamp(health.last_failure_at),
        },
        "created_at": timestamp(endpoint.created_at),
        "created_by": endpoint.created_by,
        "links": {"self": path, "deliveries": f"{path}/deliveries"},
    }
    if secrets is not None:
        shown["secrets"] = [
            {"created_at": timestamp(each.created_at), "expires_at": timestamp(each.expires_at)}
            for each in secrets
        ]
    return shown


def delivery_shown(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "endpoint_id": delivery.endpoint_id,
        "event_id": delivery.event_id,
        "type": delivery.type,
        "project": delivery.project_id,
        "state": delivery.state.value,
        "sending": delivery.sending,
        "attempts": delivery.attempts,
        "next_attempt_at": timestamp(delivery.due_at),
        "last_status": delivery.last_status,
        "last_error": delivery.last_error,
        "created_at": timestamp(delivery.created_at),
        "finished_at": timestamp(delivery.finished_at),
        "links": {
            "self": f"/webhooks/deliveries/{delivery.id}",
            "endpoint": f"/webhooks/{delivery.endpoint_id}",
            "redeliver": f"/webhooks/deliveries/{delivery.id}/redeliver",
        },
    }


def full_shown(full: FullDelivery) -> dict[str, Any]:
    """With the body that was sent, and every attempt."""
    return {
        **delivery_shown(full.delivery),
        "body": json.loads(full.body),
        "attempt_log": [attempt_shown(attempt) for attempt in full.attempts],
    }


def attempt_shown(attempt: Attempt) -> dict[str, Any]:
    outcome = attempt.outcome
    return {
        "number": attempt.number,
        "trigger": attempt.trigger.value,
        "url": attempt.url,
        "began_at": timestamp(attempt.began_at),
        "duration_ms": outcome.duration_ms if outcome else None,
        "status": outcome.status if outcome else None,
        "error": outcome.error if outcome else "interrupted",
        "message": outcome.message if outcome else "Its sender died while it was made.",
        "address": outcome.address if outcome else None,
        "request_headers": dict(attempt.request_headers),
        "response_headers": dict(outcome.headers) if outcome else {},
        "response_body": outcome.body.decode("utf-8", "replace") if outcome else "",
    }
