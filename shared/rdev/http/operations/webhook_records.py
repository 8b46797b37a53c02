"""What answers about webhooks look like: for the document alone, as records.py."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from rdev.domain.webhooks import State, Trigger
from rdev.http.operations.records import Record

_Count = Annotated[int, Field(ge=0)]


class EndpointHealth(Record):
    """How an endpoint fares, as its last attempts tell."""

    failures: _Count
    failing_since: datetime | None
    waits_until: datetime | None
    last_success_at: datetime | None
    last_failure_at: datetime | None


class EndpointLinks(Record):
    self: str
    deliveries: str


class Endpoint(Record):
    """A webhook endpoint. Of its headers only the names are shown."""

    id: str
    url: str
    events: list[str]
    projects: list[str]
    description: str
    headers: list[str]
    max_concurrent: int | None
    status: str
    paused: bool
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: str | None
    health: EndpointHealth
    created_at: datetime
    created_by: str | None
    links: EndpointLinks


class SecretTimes(Record):
    """A secret that signs, without the secret itself."""

    created_at: datetime
    expires_at: datetime | None


class EndpointInFull(Endpoint):
    """A webhook endpoint, and since when its secrets sign."""

    secrets: list[SecretTimes]


class EndpointWithSecret(Endpoint):
    """A webhook endpoint with its secret, which is shown this once."""

    secret: str


class DeletedEndpoint(Record):
    id: str
    deleted: Literal[True]


class Recovered(Record):
    """How many events an endpoint is told of once more."""

    id: str
    recovered: _Count


class DeliveryLinks(Record):
    self: str
    endpoint: str
    redeliver: str


class Delivery(Record):
    """One event for one endpoint."""

    id: str
    endpoint_id: str
    event_id: str
    type: str
    project: str | None
    state: State
    sending: bool
    attempts: _Count
    next_attempt_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime
    finished_at: datetime | None
    links: DeliveryLinks


class Attempt(Record):
    """One HTTP request of a delivery."""

    number: _Count
    trigger: Trigger
    url: str
    began_at: datetime
    duration_ms: _Count | None
    status: int | None
    error: str | None
    message: str | None
    address: str | None
    request_headers: dict[str, str]
    response_headers: dict[str, str]
    response_body: str


class DeliveryInFull(Delivery):
    """A delivery with the body that was sent and every attempt."""

    body: dict[str, Any]
    attempt_log: list[Attempt]
