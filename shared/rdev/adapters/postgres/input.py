"""SQL of commands' input: what waits to go into their stdin. At a command's end a trigger deletes
all of it, in the transaction that ends it."""

import psycopg
from psycopg.rows import DictRow

from rdev.domain.input import InputState, WaitingInput


class InputRows:
    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._sql = connection

    def open(self, command_id: str, at: int) -> None:
        """Have the command take input, from offset `at` on."""
        self._sql.execute(
            "insert into command_stdin (command_id, accepted, fed) values (%s, %s, %s)",
            (command_id, at, at),
        )

    def lock(self, command_id: str) -> InputState | None:
        """How far its input is; None where it takes none (any more). Others wait until the
        transaction ends, the command's end among them."""
        row = self._sql.execute(
            "select accepted, fed, closed from command_stdin where command_id = %s for update",
            (command_id,),
        ).fetchone()
        return InputState(**row) if row else None

    def append(self, command_id: str, start: int, data: bytes) -> None:
        """Keep a piece for the runner. `start` is where the input ends, under `lock`."""
        self._sql.execute(
            "insert into command_input (command_id, start, data) values (%s, %s, %s)",
            (command_id, start, data),
        )
        self._sql.execute(
            "update command_stdin set accepted = %s where command_id = %s",
            (start + len(data), command_id),
        )

    def close(self, command_id: str) -> None:
        self._sql.execute(
            "update command_stdin set closed = true where command_id = %s", (command_id,)
        )

    def waiting(self, command_id: str) -> WaitingInput | None:
        """All that waits, joined: no more than one command may have waiting. None: it takes no
        input (any more)."""
        # One statement: between two, a piece and the close after it could slip in.
        row = self._sql.execute(
            """
            select s.accepted, s.closed, min(i.start) as start,
                coalesce(string_agg(i.data, '' order by i.start), '') as data
            from command_stdin s left join command_input i using (command_id)
            where s.command_id = %s group by s.command_id
            """,
            (command_id,),
        ).fetchone()
        if row is None:
            return None
        start = row["accepted"] if row["start"] is None else row["start"]
        return WaitingInput(start, bytes(row["data"]), row["closed"])

    def fed(self, command_id: str, up_to: int) -> None:
        """Forget what the workspace has. Not worth an fsync: fed twice, it is taken once."""
        self._sql.execute("set local synchronous_commit = off")
        # Its row first, as everybody: the other way round two could wait for each other.
        self._sql.execute(
            "update command_stdin set fed = least(accepted, greatest(fed, %s)) "
            "where command_id = %s",
            (up_to, command_id),
        )
        self._sql.execute(
            "delete from command_input where command_id = %s and start + length(data) <= %s",
            (command_id, up_to),
        )
