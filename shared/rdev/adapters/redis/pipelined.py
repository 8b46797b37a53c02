"""Many calls of one script in one round trip, on a connection of their own: a fifth of what a call
by itself costs. Not for several threads at once; see `rdev.together`."""

import hashlib
from collections.abc import Sequence
from typing import Any

from redis import exceptions
from redis.exceptions import NoScriptError, ResponseError


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
        RedisError: then nobody knows for which of them it ran. Where the server has gone away
        since the last call and is back, it is asked anew, and may have run for them before."""
        used = self._connection is not None and self._connection.is_connected
        try:
            return self._call(arguments)
        except exceptions.ConnectionError:
            # To look before each call whether the line is open costs more than the call.
            if not used:
                raise
            return self._call(arguments)

    def _call(self, arguments: Sequence[Sequence[Any]]) -> list[Any]:
        if self._connection is None:
            self._connection = self._pool.get_connection()  # for good
        connection = self._connection
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

    def _exchange(self, connection: Any, arguments: Sequence[Sequence[Any]]) -> list[Any]:
        packed = connection.pack_commands([(*self._command, *each) for each in arguments])
        connection.send_packed_command(packed, check_health=False)
        return [_read(connection) for _ in arguments]


def _read(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as exc:
        return exc
