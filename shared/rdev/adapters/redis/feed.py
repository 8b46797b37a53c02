"""What the hub needs of Redis: one blocking read over many projects, and quick looks back."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, cast

import redis

from rdev.adapters.redis.connect import translated
from rdev.adapters.redis.entries import Raw, command_key, entries, notices, project_key
from rdev.domain.events import START, Entry, EntryId, Notice

_BATCH = 256
"""Notices of one project taken at once: 8 MB of output at most."""


class Feed:
    """Port `rdev.ports.ProjectFeed` on Redis. `blocking` comes from `connect_blocking` and is
    used by `wait` alone. Every method raises StoreUnavailable."""

    def __init__(self, client: redis.Redis, blocking: redis.Redis) -> None:
        self._client = client
        self._blocking = blocking
        self._doorbell = f"rdev:doorbell:{secrets.token_hex(8)}"
        self._rung = "0-0"

    def latest(self, project_ids: Sequence[str]) -> dict[str, EntryId]:
        """The last id in each project's stream; 0-0 where there is none."""
        with translated(), self._client.pipeline(transaction=False) as pipe:
            for project_id in project_ids:
                pipe.xrevrange(project_key(project_id), count=1)
            replies = cast("list[list[Raw]]", pipe.execute())
        ids = [EntryId.of(raw[0][0]) if raw else START for raw in replies]
        return dict(zip(project_ids, ids, strict=True))

    def wait(self, after: Mapping[str, EntryId], timeout_s: float) -> dict[str, list[Notice]]:
        """What came after these ids, as soon as there is something; empty after the timeout or
        when the bell was rung."""
        by_key = {project_key(project_id).encode(): project_id for project_id in after}
        streams: dict[Any, Any] = {project_key(p): str(at) for p, at in after.items()}
        streams[self._doorbell] = self._rung
        with translated():
            reply = self._blocking.xread(streams, count=_BATCH, block=max(1, int(timeout_s * 1000)))
        found: dict[str, list[Notice]] = {}
        for key, raw in cast("list[tuple[bytes, list[Raw]]]", reply or []):
            if key in by_key:
                found[by_key[key]] = notices(raw)
            else:
                self._rung = raw[-1][0].decode()
        return found

    def ring(self) -> None:
        """Make `wait` return. The bell is a stream: rung before the wait, it is heard too."""
        with translated(), self._client.pipeline(transaction=False) as pipe:
            pipe.xadd(self._doorbell, {"r": ""}, maxlen=1, approximate=False)
            pipe.expire(self._doorbell, 60)
            pipe.execute()

    def history(self, project_id: str, after: EntryId, *, count: int) -> list[Notice]:
        """Notices after an id, in order."""
        with translated():
            raw = self._client.xrange(
                project_key(project_id), f"({after}" if after != START else "-", "+", count
            )
        return notices(cast("list[Raw]", raw))

    def entries(
        self, ranges: Sequence[tuple[str, str, EntryId, EntryId | None]], *, count: int = _BATCH
    ) -> list[list[Entry]]:
        """For each (project, command, after, last or None for the end): the entries between,
        up to `count` of them."""
        if not ranges:
            return []
        with translated(), self._client.pipeline(transaction=False) as pipe:
            for project_id, command_id, after, last in ranges:
                low = f"({after}" if after != START else "-"
                pipe.xrange(command_key(project_id, command_id), low, str(last or "+"), count)
            replies = cast("list[list[Raw]]", pipe.execute())
        return [entries(raw) for raw in replies]

    def missing(self, project_id: str, command_ids: Sequence[str]) -> list[str]:
        """Those of these commands that have no stream."""
        if not command_ids:
            return []
        with translated(), self._client.pipeline(transaction=False) as pipe:
            for command_id in command_ids:
                pipe.exists(command_key(project_id, command_id))
            there = pipe.execute()
        return [each for each, found in zip(command_ids, there, strict=True) if not found]

    def close(self) -> None:
        with translated():
            self._client.delete(self._doorbell)
        self._blocking.close()
