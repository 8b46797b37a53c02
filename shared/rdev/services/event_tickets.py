"""Tickets for EventSource: each stands in for a key, once, for one project's streams."""

import secrets
from typing import Protocol

from rdev.domain.callers import Caller
from rdev.errors import Unauthorized


class TicketStore(Protocol):
    """Keeps short words for a short time."""

    def put(self, ticket: str, value: str, lifetime_s: int) -> None: ...

    def take(self, ticket: str) -> str | None:
        """What was put, and never again."""


class EventTickets:
    LIFETIME_S = 60

    def __init__(self, store: TicketStore) -> None:
        self._store = store

    def issue(self, by: Caller, project_id: str) -> str:
        ticket = secrets.token_urlsafe(32)
        self._store.put(ticket, f"{by.key.id} {project_id}", self.LIFETIME_S)
        return ticket

    def redeem(self, ticket: str, project_id: str) -> str:
        """The id of the key behind it. Raises Unauthorized where the ticket is used, over or of
        another project."""
        key_id, _, granted = (self._store.take(ticket) or "").partition(" ")
        if not key_id or granted != project_id:
            raise Unauthorized("The ticket is used or over. Get a new one.")
        return key_id
