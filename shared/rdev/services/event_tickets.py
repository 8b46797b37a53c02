"""Tickets for EventSource: each stands in for a key, once, for one project's streams."""

import secrets
from typing import Protocol

from rdev.domain.callers import Caller
from rdev.domain.keys import Key
from rdev.errors import Unauthorized
from rdev.services.keys import Keys


class TicketStore(Protocol):
    """Keeps short words for a short time."""

    def put(self, ticket: str, value: str, lifetime_s: int) -> None: ...

    def take(self, ticket: str) -> str | None:
        """What was put, and never again."""


class EventTickets:
    LIFETIME_S = 60

    def __init__(self, store: TicketStore, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    def issue(self, by: Caller, project_id: str) -> str:
        ticket = secrets.token_urlsafe(32)
        self._store.put(ticket, f"{by.key.id} {project_id}", self.LIFETIME_S)
        return ticket

    def redeem(self, ticket: str, project_id: str) -> Key:
        """The key behind it, as it stands now. Raises Unauthorized where the ticket is used,
        over, of another project, or its key is not usable any more."""
        key_id, _, granted = (self._store.take(ticket) or "").partition(" ")
        if not key_id or granted != project_id:
            raise Unauthorized("The ticket is used or over. Get a new one.")
        return self._keys.still_usable(key_id)
