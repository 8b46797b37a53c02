"""Webhooks from Python: `client.webhooks`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypedDict, Unpack
from urllib.parse import quote


class WebhookBody(TypedDict, total=False):
    """What may be asked of an endpoint beside its URL."""

    events: Sequence[str]
    projects: Sequence[str]
    description: str
    headers: Mapping[str, str]
    max_concurrent: int
    paused: bool
    secret: str


class WebhookChange(TypedDict, total=False):
    """What may be changed of an endpoint."""

    url: str
    events: Sequence[str]
    projects: Sequence[str]
    description: str
    headers: Mapping[str, str]
    max_concurrent: int
    paused: bool
    enabled: bool


@dataclass(frozen=True, slots=True)
class Webhook:
    """An endpoint. `secret` is there only in the answer that made it, and never in a repr."""

    id: str
    url: str
    status: str
    events: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    secret: str | None = field(default=None, repr=False)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            id=str(raw["id"]),
            url=raw.get("url") or "",
            status=raw.get("status") or "",
            events=tuple(raw.get("events") or ()),
            projects=tuple(raw.get("projects") or ()),
            secret=raw.get("secret"),
            raw=raw,
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint. `raw` of a single one has its `attempt_log`."""

    id: str
    endpoint_id: str
    event_id: str
    type: str
    state: str
    attempts: int = 0
    last_status: int | None = None
    last_error: str | None = None
    created_at: str | None = None
    next_attempt_at: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            id=str(raw["id"]),
            endpoint_id=raw.get("endpoint_id") or "",
            event_id=raw.get("event_id") or "",
            type=raw.get("type") or "",
            state=raw.get("state") or "",
            attempts=raw.get("attempts") or 0,
            last_status=raw.get("last_status"),
            last_error=raw.get("last_error"),
            created_at=raw.get("created_at"),
            next_attempt_at=raw.get("next_attempt_at"),
            raw=raw,
        )


class _Call(Protocol):
    def __call__(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, repeatable: bool
    ) -> dict[str, Any]: ...


class _Pages(Protocol):
    def __call__(self, path: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]: ...


class Webhooks:
    """Endpoints, what was delivered to them, and having it delivered again. Raises as Client."""

    def __init__(self, call: _Call, pages: _Pages) -> None:
        self._call = call
        self._pages = pages

    def create(self, url: str, **more: Unpack[WebhookBody]) -> Webhook:
        """A new endpoint. Its `secret` is in this answer and can never be had again."""
        body = {"url": url, **more}
        return Webhook.parse(self._call("POST", "/webhooks", body=body, repeatable=False))

    def list(self) -> Iterator[Webhook]:
        for raw in self._pages("/webhooks", {}):
            yield Webhook.parse(raw)

    def get(self, endpoint_id: str) -> Webhook:
        return Webhook.parse(self._call("GET", _path(endpoint_id), repeatable=True))

    def update(self, endpoint_id: str, **changes: Unpack[WebhookChange]) -> Webhook:
        """Change what is named and leave the rest. `paused=False` and `enabled=True` have what
        waits sent at once."""
        raw = self._call("PATCH", _path(endpoint_id), body=changes, repeatable=True)
        return Webhook.parse(raw)

    def delete(self, endpoint_id: str) -> None:
        self._call("DELETE", _path(endpoint_id), repeatable=False)

    def rotate(self, endpoint_id: str, overlap_s: float | None = None) -> Webhook:
        """A new `secret`. For `overlap_s` seconds (a day by default) both sign."""
        body = {} if overlap_s is None else {"overlap_s": overlap_s}
        path = f"{_path(endpoint_id)}/rotate"
        return Webhook.parse(self._call("POST", path, body=body, repeatable=False))

    def test(self, endpoint_id: str) -> Delivery:
        """Send it a `test` event now."""
        path = f"{_path(endpoint_id)}/test"
        return Delivery.parse(self._call("POST", path, repeatable=False))

    def recover(self, endpoint_id: str, since: str) -> int:
        """Have delivered what it was never told of since then: how many deliveries that is."""
        path = f"{_path(endpoint_id)}/recover"
        raw = self._call("POST", path, body={"since": since}, repeatable=True)
        return int(raw["recovered"])

    def deliveries(
        self,
        endpoint_id: str | None = None,
        *,
        state: str | None = None,
        type: str | None = None,  # noqa: A002 - the event's type
        since: str | None = None,
    ) -> Iterator[Delivery]:
        """Newest first, page after page as they are read."""
        asked = {"endpoint": endpoint_id, "state": state, "type": type, "since": since}
        given = {name: value for name, value in asked.items() if value is not None}
        for raw in self._pages("/webhooks/deliveries", given):
            yield Delivery.parse(raw)

    def delivery(self, delivery_id: str) -> Delivery:
        """With the body and every attempt in `raw`."""
        return Delivery.parse(self._call("GET", _path("deliveries", delivery_id), repeatable=True))

    def redeliver(self, delivery_id: str) -> Delivery:
        """Deliver it now, whatever became of it, under the same webhook-id."""
        path = f"{_path('deliveries', delivery_id)}/redeliver"
        return Delivery.parse(self._call("POST", path, repeatable=True))


def _path(*parts: str) -> str:
    return "/webhooks/" + "/".join(quote(part, safe="") for part in parts)
