"""Webhooks: their endpoints, the outbox, the deliveries and who sends them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rdev.domain.attempts import Outcome, Outgoing
    from rdev.domain.delivering import Plan
    from rdev.domain.webhooks import Attempt, Claim, Delivery, Endpoint, Health, Secret, State


class EndpointTable(Protocol):
    """`within` are the project globs that the caller holds; None: every one."""

    def insert(self, endpoint: Endpoint, secret: str) -> None: ...
    def get(self, endpoint_id: str, *, lock: bool = False) -> Endpoint | None: ...
    def list(
        self, *, within: Collection[str] | None, before: str | None, limit: int
    ) -> Sequence[Endpoint]: ...
    def update(self, endpoint: Endpoint) -> None: ...
    def delete(self, endpoint_id: str) -> bool: ...
    def secrets(self, endpoint_id: str) -> Sequence[Secret]: ...
    def rotate(self, endpoint_id: str, secret: str, *, overlap_s: float) -> None: ...
    def lock_all(self, endpoint_ids: Collection[str]) -> Sequence[Endpoint]: ...
    def fare(self, healths: Mapping[str, Health]) -> None: ...


class Outbox(Protocol):
    """What happened, for whoever wants to be told: written with the change itself."""

    def add(
        self,
        type: str,  # noqa: A002 - the event's type
        data: Mapping[str, Any],
        *,
        project_id: str | None = None,
    ) -> int:
        """Write the event, and a delivery for each endpoint that takes it; how many. Events of no
        project go to endpoints of all projects only. Cheap where there are no endpoints."""

    def add_for(self, endpoint_id: str, type: str, data: Mapping[str, Any]) -> str:  # noqa: A002
        """Write an event for this endpoint alone, whatever it takes: the delivery's id."""

    def recover(self, endpoint_id: str, *, since: datetime, after: str, limit: int) -> str | None:
        """Up to `limit` events from `since` on, by id after `after`: those that the endpoint
        takes and was never told are to be delivered (again). The last id; None: no more."""

    @property
    def recovered(self) -> int:
        """How many deliveries `recover` has set going in this transaction."""

    def notice(self) -> None:
        """Have senders look: something may be due that was not before."""

    @property
    def wrote(self) -> bool:
        """Whether senders are to look."""

    def cut(self, *, older_than_s: float, limit: int) -> int: ...


class DeliveryTable(Protocol):
    """Claims and leases of what is to be sent. Every change but `claim` names the epoch of its
    claim and does nothing where that is no longer the row's."""

    def claim(self, *, limit: int, struggling: int, lease_s: float) -> Sequence[Claim]: ...
    def renew(self, held: Sequence[tuple[str, int]], *, lease_s: float) -> Collection[str]: ...
    def release(self, held: Sequence[tuple[str, int]]) -> None: ...
    def record(self, made: Sequence[tuple[Claim, Attempt, Plan]]) -> Collection[str]: ...
    def rebase(self) -> None: ...
    def next_due_s(self) -> float | None: ...


class DeliveryRecords(Protocol):
    """Deliveries as they are shown."""

    def get(self, delivery_id: str) -> Delivery | None: ...
    def list(
        self,
        *,
        within: Collection[str] | None,
        before: str | None,
        limit: int,
        endpoint_id: str | None = None,
        state: State | None = None,
        type: str | None = None,  # noqa: A002
        since: datetime | None = None,
    ) -> Sequence[Delivery]: ...
    def attempts(self, delivery_id: str) -> Sequence[Attempt]: ...
    def body(self, event_id: str) -> bytes | None: ...
    def again(self, delivery_id: str) -> None: ...


class WebhookSender(Protocol):
    """One attempt over HTTP."""

    def send(self, outgoing: Outgoing) -> Outcome:
        """Never raises; at most 15 s in all."""

    def refusal(self, url: str) -> str | None:
        """Why this URL can never be sent to, in words; None: nothing speaks against it. Asks no
        name server."""


class Bell(Protocol):
    """Tells resident senders that something is due. May be lost."""

    def ring(self) -> None: ...
    def wait(self, after: str, timeout_s: float) -> str:
        """Blocks until somebody rang after `after` (`$` at first), or the timeout. Where to go
        on from; the same where nobody did."""
