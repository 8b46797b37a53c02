"""Webhooks: endpoints, what was delivered to them, and the delivering itself.

Delivering is woken by a CloudEvent (`dev.rdev.delivery.due.v1`, `dev.rdev.sweep.v1`) or any POST
to `/`, which no public route leads to; what it carries does not matter, since the rows are the
truth. It is answered 204 without a body: a Broker takes anything else for a failed delivery.

What some routes alone use is loaded with the first request for it: the function starts cold.
"""

from typing import TYPE_CHECKING

import flask
import functions_framework
from flask import Blueprint, Response

from rdev import wiring
from rdev.http import envelope, parsing
from rdev.http.auth import require
from rdev.http.function import install, no_such_route
from rdev.http.models import Page
from rdev.http.webhooks import delivery_shown, endpoint_shown, full_shown

if TYPE_CHECKING:
    from rdev.domain.callers import Caller
    from rdev.domain.webhooks import Delivery
    from rdev.http.webhook_models import DeliveriesPage

blueprint = Blueprint("webhooks", __name__)


@blueprint.post("/")
def wake() -> Response:
    """Deliver until nothing is due or the time is over."""
    wiring.wake_deliveries()
    return Response(status=204)


@blueprint.get("/webhooks")
def list_webhooks() -> Response:
    """List webhook endpoints, newest first."""
    by = require("webhooks:admin")
    page = parsing.query(Page)
    found = wiring.webhooks().list(by, before=page.cursor, limit=page.limit + 1)
    shown = found[: page.limit]
    cursor = shown[-1].id if len(found) > page.limit else None
    return envelope.data([endpoint_shown(each) for each in shown], next_cursor=cursor)


@blueprint.post("/webhooks")
def create_webhook() -> Response:
    """Create a webhook endpoint. Its secret is in this answer, and never again in any."""
    from rdev.http.webhook_models import CreateWebhook

    by = require("webhooks:admin")
    asked = parsing.body(CreateWebhook)
    endpoint, secret = wiring.webhooks().create(by, asked.wish(), secret=asked.secret)
    response = envelope.data({**endpoint_shown(endpoint), "secret": secret}, 201)
    response.headers["Location"] = f"/webhooks/{endpoint.id}"
    return response


@blueprint.get("/webhooks/<endpoint_id>")
def get_webhook(endpoint_id: str) -> Response:
    """Get a webhook endpoint, and how it fares."""
    by = require("webhooks:admin")
    return envelope.data(endpoint_shown(*wiring.webhooks().get(by, endpoint_id)))


@blueprint.patch("/webhooks/<endpoint_id>")
def update_webhook(endpoint_id: str) -> Response:
    """Change a webhook endpoint: also pause, resume, disable and enable it."""
    from rdev.http.webhook_models import UpdateWebhook

    by = require("webhooks:admin")
    asked = parsing.body(UpdateWebhook)
    return envelope.data(endpoint_shown(wiring.webhooks().update(by, endpoint_id, asked.wish())))


@blueprint.delete("/webhooks/<endpoint_id>")
def delete_webhook(endpoint_id: str) -> Response:
    """Delete a webhook endpoint, with the record of what was sent to it."""
    by = require("webhooks:admin")
    wiring.webhooks().delete(by, endpoint_id)
    return envelope.data({"id": endpoint_id, "deleted": True})


@blueprint.post("/webhooks/<endpoint_id>/test")
def test_webhook(endpoint_id: str) -> Response:
    """Send a `test` event to this endpoint, whatever it takes."""
    by = require("webhooks:admin")
    delivery_id = wiring.webhooks().test(by, endpoint_id)
    return _delivery(wiring.delivery_log().get(by, delivery_id).delivery, 202)


@blueprint.post("/webhooks/<endpoint_id>/rotate")
def rotate_webhook(endpoint_id: str) -> Response:
    """Give a webhook endpoint a new secret; for a while both sign. Shown in this answer only."""
    from rdev.http.webhook_models import RotateSecret

    by = require("webhooks:admin")
    asked = parsing.body(RotateSecret)
    endpoint, secret = wiring.webhooks().rotate(
        by, endpoint_id, secret=asked.secret, overlap_s=asked.overlap_s
    )
    return envelope.data({**endpoint_shown(endpoint), "secret": secret})


@blueprint.post("/webhooks/<endpoint_id>/recover")
def recover_webhook(endpoint_id: str) -> Response:
    """Deliver what an endpoint was never told of since a time."""
    from rdev.http.webhook_models import RecoverDeliveries

    by = require("webhooks:admin")
    asked = parsing.body(RecoverDeliveries)
    recovered = wiring.webhooks().recover(by, endpoint_id, asked.since)
    return envelope.data({"id": endpoint_id, "recovered": recovered}, 202)


@blueprint.get("/webhooks/<endpoint_id>/deliveries")
def list_deliveries(endpoint_id: str) -> Response:
    """List an endpoint's deliveries, newest first."""
    from rdev.http.webhook_models import DeliveriesPage

    by = require("webhooks:admin")
    return _deliveries(by, parsing.query(DeliveriesPage), endpoint_id)


@blueprint.get("/webhooks/deliveries")
def list_all_deliveries() -> Response:
    """List the deliveries to every endpoint that the key may see, newest first."""
    from rdev.http.webhook_models import AllDeliveriesPage

    by = require("webhooks:admin")
    page = parsing.query(AllDeliveriesPage)
    return _deliveries(by, page, page.endpoint)


@blueprint.get("/webhooks/deliveries/<delivery_id>")
def get_delivery(delivery_id: str) -> Response:
    """Get a delivery, with the body that was sent and every attempt."""
    by = require("webhooks:admin")
    return envelope.data(full_shown(wiring.delivery_log().get(by, delivery_id)))


@blueprint.post("/webhooks/deliveries/<delivery_id>/redeliver")
def redeliver(delivery_id: str) -> Response:
    """Deliver it once more, now, under the same webhook-id."""
    by = require("webhooks:admin")
    return _delivery(wiring.delivery_log().redeliver(by, delivery_id), 202)


def _deliveries(by: "Caller", page: "DeliveriesPage", endpoint_id: str | None) -> Response:
    found = wiring.delivery_log().list(
        by,
        before=page.cursor,
        limit=page.limit + 1,
        endpoint_id=endpoint_id,
        state=page.state,
        type=page.type,
        since=page.since,
    )
    shown = found[: page.limit]
    cursor = shown[-1].id if len(found) > page.limit else None
    return envelope.data([delivery_shown(each) for each in shown], next_cursor=cursor)


def _delivery(delivery: "Delivery", status: int) -> Response:
    return envelope.data(delivery_shown(delivery), status)


install(blueprint)


@functions_framework.http
def webhooks(request: flask.Request) -> Response:
    """Whatever no route above takes."""
    return no_such_route(request)
