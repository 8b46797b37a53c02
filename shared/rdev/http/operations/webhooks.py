"""The operations of `functions/webhooks`."""

from pydantic import BaseModel

from rdev.http import models
from rdev.http import webhook_models as asked
from rdev.http.operations import webhook_records as records
from rdev.http.operations.headers import LOCATION
from rdev.http.operations.operation import Answer, Operation, many, one

_ENDPOINT = "/webhooks/{endpoint_id}"
_DELIVERY = "/webhooks/deliveries/{delivery_id}"


def _operation(
    method: str,
    path: str,
    handler: str,
    summary: str,
    answers: dict[int, Answer],
    *,
    query: type[BaseModel] | None = None,
    body: type[BaseModel] | None = None,
    body_required: bool = True,
    errors: tuple[str, ...] = (),
) -> Operation:
    return Operation(
        method,
        path,
        f"webhooks.{handler}",
        summary,
        answers,
        scope="webhooks:admin",
        query=query,
        body=body,
        body_required=body_required,
        errors=errors,
    )


OPERATIONS = (
    _operation(
        "GET",
        "/webhooks",
        "list_webhooks",
        "List webhook endpoints, newest first.",
        {200: many(records.Endpoint, "A page of endpoints.")},
        query=models.Page,
    ),
    _operation(
        "POST",
        "/webhooks",
        "create_webhook",
        "Create a webhook endpoint.",
        {201: one(records.EndpointWithSecret, "The new endpoint.", LOCATION)},
        body=asked.CreateWebhook,
    ),
    _operation(
        "GET",
        _ENDPOINT,
        "get_webhook",
        "Get a webhook endpoint, and how it fares.",
        {200: one(records.EndpointInFull, "The endpoint.")},
    ),
    _operation(
        "PATCH",
        _ENDPOINT,
        "update_webhook",
        "Change a webhook endpoint: also pause, resume, disable and enable it.",
        {200: one(records.Endpoint, "The endpoint as it is now.")},
        body=asked.UpdateWebhook,
        body_required=False,
        errors=("CONFLICT",),
    ),
    _operation(
        "DELETE",
        _ENDPOINT,
        "delete_webhook",
        "Delete a webhook endpoint, with the record of what was sent to it.",
        {200: one(records.DeletedEndpoint, "It is gone.")},
    ),
    _operation(
        "POST",
        f"{_ENDPOINT}/test",
        "test_webhook",
        "Send a `test` event to this endpoint, whatever it takes.",
        {202: one(records.Delivery, "The delivery.")},
        errors=("CONFLICT",),
    ),
    _operation(
        "POST",
        f"{_ENDPOINT}/rotate",
        "rotate_webhook",
        "Give a webhook endpoint a new secret; for a while both sign.",
        {200: one(records.EndpointWithSecret, "The endpoint with its new secret.")},
        body=asked.RotateSecret,
        body_required=False,
        errors=("CONFLICT",),
    ),
    _operation(
        "POST",
        f"{_ENDPOINT}/recover",
        "recover_webhook",
        "Deliver what an endpoint was never told of since a time.",
        {202: one(records.Recovered, "They are on their way.")},
        body=asked.RecoverDeliveries,
        errors=("CONFLICT",),
    ),
    _operation(
        "GET",
        f"{_ENDPOINT}/deliveries",
        "list_deliveries",
        "List an endpoint's deliveries, newest first.",
        {200: many(records.Delivery, "A page of deliveries.")},
        query=asked.DeliveriesPage,
    ),
    _operation(
        "GET",
        "/webhooks/deliveries",
        "list_all_deliveries",
        "List the deliveries to every endpoint that the key may see, newest first.",
        {200: many(records.Delivery, "A page of deliveries.")},
        query=asked.AllDeliveriesPage,
        errors=("NOT_FOUND",),
    ),
    _operation(
        "GET",
        _DELIVERY,
        "get_delivery",
        "Get a delivery, with the body that was sent and every attempt.",
        {200: one(records.DeliveryInFull, "The delivery.")},
    ),
    _operation(
        "POST",
        f"{_DELIVERY}/redeliver",
        "redeliver",
        "Deliver it once more, now, under the same webhook-id.",
        {202: one(records.Delivery, "It is on its way.")},
        errors=("CONFLICT",),
    ),
)
