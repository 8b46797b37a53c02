"""Input: bytes for a running command's stdin. Accepted here, durably; the runner that follows the
command carries them into its workspace (see `feeding`)."""

import logging
from dataclasses import dataclass

from rdev.domain.callers import Caller
from rdev.domain.commands import Command
from rdev.domain.input import InputState, fresh_part
from rdev.errors import Conflict, NotFound, Unavailable
from rdev.ports import QueueTickets, Transactions

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Where the next piece of input begins, and whether there can be one."""

    offset: int
    closed: bool


class Input:
    def __init__(self, transaction: Transactions, tickets: QueueTickets) -> None:
        self._transaction = transaction
        self._tickets = tickets

    def send(
        self,
        by: Caller,
        project_id: str,
        command_id: str,
        data: bytes,
        *,
        offset: int | None = None,
        close: bool = False,
    ) -> Accepted:
        """Have bytes go into a command's stdin, and end it after them with `close`; durable once
        this returns. With `offset` it may be repeated: what came before is left out. Raises
        Conflict where the command takes no input (any more), and see `fresh_part`."""
        message = f"Command not found: {command_id}"
        by.must_see(project_id, message)
        with self._transaction() as tx:
            command = tx.commands.get(project_id, command_id)
            if command is None:
                raise NotFound(message)
            state = tx.input.lock(command_id)
            if state is None:
                raise Conflict(_why_none(command))
            fresh = fresh_part(state, offset, data)
            if fresh:
                tx.input.append(command_id, state.accepted, fresh)
            closes = close and not state.closed
            if closes:
                tx.input.close(command_id)
        if fresh or closes:
            self._ring(command_id)
        return _accepted(state, fresh, close=close)

    def _ring(self, command_id: str) -> None:
        try:
            self._tickets.ring(command_id)
        except Unavailable as exc:
            log.warning("its runner looks by itself: %s", exc)


def _accepted(state: InputState, fresh: bytes, *, close: bool) -> Accepted:
    return Accepted(state.accepted + len(fresh), closed=state.closed or close)


def _why_none(command: Command) -> str:
    if not command.spec.get("stdin_open"):
        return "The command's stdin is not open. Start it with `stdin_open: true`."
    return "The command has ended. It takes no more input."
