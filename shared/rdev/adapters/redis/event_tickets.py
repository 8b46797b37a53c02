"""Where EventSource's tickets lie: one key each, gone once taken or after its lifetime."""

import redis

from rdev.adapters.redis.connect import translated


class EventTicketStore:
    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def put(self, ticket: str, value: str, lifetime_s: int) -> None:
        with translated():
            self._client.set(_key(ticket), value, ex=lifetime_s)

    def take(self, ticket: str) -> str | None:
        with translated():
            value = self._client.getdel(_key(ticket))
        return value.decode() if isinstance(value, bytes) else None


def _key(ticket: str) -> str:
    return f"rdev:event-ticket:{ticket}"
