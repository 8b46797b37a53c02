"""rdev from Python: `Client(base_url, api_key)`, its records, events and errors."""

from rdev.client.audit import AuditFilters, AuditRow, ChainHead, Verdict
from rdev.client.client import Client
from rdev.client.errors import (
    ApiError,
    BadRequest,
    CannotConnect,
    ClientError,
    Conflict,
    Detail,
    Disconnected,
    Forbidden,
    Gone,
    NotFound,
    NotRdev,
    ServerError,
    StreamStalled,
    TooManyRequests,
    Unauthorized,
)
from rdev.client.events import Event, Gap, Output, StateChange
from rdev.client.records import Command, CommandBody, Key, KeyBody, Project
from rdev.client.transport import Patience
from rdev.client.webhooks import Delivery, Webhook, WebhookBody, WebhookChange

__all__ = [
    "ApiError",
    "AuditFilters",
    "AuditRow",
    "BadRequest",
    "CannotConnect",
    "ChainHead",
    "Client",
    "ClientError",
    "Command",
    "CommandBody",
    "Conflict",
    "Delivery",
    "Detail",
    "Disconnected",
    "Event",
    "Forbidden",
    "Gap",
    "Gone",
    "Key",
    "KeyBody",
    "NotFound",
    "NotRdev",
    "Output",
    "Patience",
    "Project",
    "ServerError",
    "StateChange",
    "StreamStalled",
    "TooManyRequests",
    "Unauthorized",
    "Verdict",
    "Webhook",
    "WebhookBody",
    "WebhookChange",
]
