"""rdev from Python: `Client(base_url, api_key)`, its records, events and errors."""

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

__all__ = [
    "ApiError",
    "BadRequest",
    "CannotConnect",
    "Client",
    "ClientError",
    "Command",
    "CommandBody",
    "Conflict",
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
]
