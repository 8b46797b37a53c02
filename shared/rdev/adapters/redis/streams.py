"""The event streams: a command's, addressed by its bytes, and its project's.

Every append is idempotent (`append.lua`), so that any runner may append twice or late.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, cast

import redis

from rdev import failpoints
from rdev.adapters.redis.connect import translated
from rdev.adapters.redis.entries import FLAGS, Raw, command_key, entries, project_key
from rdev.domain.commands import Position
from rdev.domain.events import (
    FINISHED,
    NOTHING,
    OUTPUT,
    START,
    Announced,
    Chunk,
    Entry,
    EntryId,
    Tail,
    position_of,
    to_json,
)

_APPEND = files("rdev.adapters.redis").joinpath("append.lua").read_text()
if failpoints.without("append"):  # to show that the chaos suite would notice
    _APPEND = _APPEND.replace(
        "or stdout ~= stdout_now or stderr ~= stderr_now then",
        "then",
    ).replace("if flag == 'o' then", "stdout, stderr = stdout_now, stderr_now if flag == 'o' then")
_TRIM = files("rdev.adapters.redis").joinpath("trim.lua").read_text()
_FORGET = files("rdev.adapters.redis").joinpath("forget.lua").read_text()


class Streams:
    """Port `rdev.ports.EventStreams` on Redis. Every method raises StoreUnavailable when Redis
    does not answer; then it is unknown whether an append happened: do it again."""

    def __init__(self, client: redis.Redis, *, keep_notices: int = 10_000) -> None:
        self._client = client
        self._keep_notices = keep_notices
        self._script = client.register_script(_APPEND)
        self._trim = client.register_script(_TRIM)
        self._forget = client.register_script(_FORGET)

    def append(
        self,
        project_id: str,
        command_id: str,
        stream: str,
        at: Position,
        data: bytes,
        *,
        type: str = OUTPUT,  # noqa: A002 (the event's type)
    ) -> Position:
        """Append bytes of `stdout` or `stderr` that begin at `at`, if the stream ends there.

        Returns where it ends now: elsewhere than expected, if others appended or Redis lost its
        data; then go on from there. After command.finished nothing is appended."""
        return self.append_all(project_id, command_id, [Chunk(stream, at, data, type)])

    def append_all(
        self, project_id: str, command_id: str, chunks: Sequence[Chunk], *, begun: bool = False
    ) -> Position:
        """Several appends in one round trip, each as by `append`. `begun`: nothing is appended to
        a stream that has no entry yet, or no more."""
        args: list[str | bytes | int] = []
        for chunk in chunks:
            args += [FLAGS[chunk.stream], chunk.at.stdout, chunk.at.stderr, chunk.type, chunk.data]
        return self._call(project_id, command_id, "onto" if begun else "output", args)[0].position

    def announce(
        self,
        project_id: str,
        command_id: str,
        type: str,  # noqa: A002 (the event's type)
        data: Mapping[str, Any],
        totals: Position = NOTHING,
    ) -> Announced:
        """Add a state event once. command.finished needs the totals written, and is added only
        where the stream holds exactly those."""
        args: list[str | bytes | int] = [type, to_json(data), totals.stdout, totals.stderr]
        return Announced(self._call(project_id, command_id, "state", args)[1])

    def tail(self, project_id: str, command_id: str) -> Tail:
        """How the stream ends; an empty Tail where there is none."""
        return self._call(project_id, command_id, "tail", [])[0]

    def read(
        self, project_id: str, command_id: str, after: EntryId, *, count: int = 16
    ) -> list[Entry]:
        """Up to `count` entries after an id (of an entry or not), in order."""
        key = command_key(project_id, command_id)
        with translated():
            raw = self._client.xrange(key, f"({after}" if after != START else "-", "+", count)
        return entries(cast("list[Raw]", raw))

    def trim_to(self, project_id: str, command_id: str, entry_id: EntryId) -> None:
        """Forget what lies before this entry, if it is one of the stream."""
        with translated():
            self._trim(keys=[command_key(project_id, command_id)], args=[str(entry_id)])

    def forget(self, project_id: str, command_id: str, *, after_s: int) -> None:
        """Let the stream go in `after_s` seconds, or at once where its end is not in it: for one
        of which all that can be had is archived."""
        with translated():
            self._forget(keys=[command_key(project_id, command_id)], args=[after_s])

    def delete(self, project_id: str, command_id: str) -> None:
        """Drop a command's stream."""
        with translated():
            self._client.delete(command_key(project_id, command_id))

    def delete_project(self, project_id: str) -> None:
        """Drop a project's own stream (its commands' are dropped one by one)."""
        with translated():
            self._client.delete(project_key(project_id))

    def _call(
        self, project_id: str, command_id: str, operation: str, args: Sequence[str | bytes | int]
    ) -> tuple[Tail, str]:
        with translated():
            reply = self._script(  # EVALSHA; loads the script where Redis does not know it
                keys=[command_key(project_id, command_id), project_key(project_id)],
                args=[operation, command_id, self._keep_notices, *args],
            )
        raw_id, finished, outcome = cast("tuple[bytes, int, bytes]", reply)
        last_id = EntryId.of(raw_id)
        end = Entry(last_id, FINISHED, b"").end if finished else position_of(last_id)
        return Tail(end, bool(finished), last_id), outcome.decode()
