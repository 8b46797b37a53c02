"""Many calls of one script in one round trip, on a connection of their own: a fifth of what a call
by itself costs. Not for several threads at once; see `rdev.together`."""

import hashlib
from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError, RedisError, ResponseError


class Pipelined:
    def __init__(self, client: Any, script: str, *, keys: int) -> None:
        """`keys`: how many of the arguments are keys, the first ones. Connects at the first call,
        by the client's settings."""
        self._pool = client.connection_pool
        self._script = script
        self._command = ("EVALSHA", hashlib.sha1(script.encode()).hexdigest(), keys)  # noqa: S324 - Redis names scripts so
        self._connection: Any = None

    def call(self, arguments: Sequence[Sequence[Any]]) -> list[Any]:
        """What the script answers to each; a ResponseError where it fails for one. Raises
        RedisError: then nobody knows for which of them it ran."""
        connection = self._connected()
        try:
            replies = self._exchange(connection, arguments)
            missed = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if missed:  # not run: the server is new, or was told to forget its scripts
                connection.send_command("SCRIPT", "LOAD", self._script)
                connection.read_response()
                again = self._exchange(connection, [arguments[at] for at in missed])
                for at, reply in zip(missed, again, strict=True):
                    replies[at] = reply
        except BaseException:  # also one that is no error: what is left on the line is nobody's
            connection.disconnect()
            raise
        return replies

    def close(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()

    def _connected(self) -> Any:
        """With the end of a server that went away seen before anything is sent to it."""
        if self._connection is None:
            self._connection = self._pool.get_connection()  # for good
        elif self._connection.is_connected and self._over():
            self._connection.disconnect()
        return self._connection

    def _over(self) -> bool:
        """Whether the server is gone, or said what nobody had asked for."""
        try:
            return bool(self._connection.can_read(0))
        except (RedisError, OSError):
            return True

    def _exchange(self, connection: Any, arguments: Sequence[Sequence[Any]]) -> list[Any]:
        packed = connection.pack_commands([(*self._command, *each) for each in arguments])
        connection.send_packed_command(packed, check_health=False)
        return [_read(connection) for _ in arguments]


def _read(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as exc:
        return exc
