"""Feeding: one running command's input, from the rows where it waits into the workspace.

Any number of runners may do this, again or at once: bytes are addressed by offset, and a row is
forgotten only when the workspace has it.
"""

import logging
import threading
import time

from rdev.domain.commands import Command
from rdev.domain.input import WaitingInput
from rdev.errors import StoreUnavailable
from rdev.ports import Transactions, Workspace

log = logging.getLogger(__name__)

_LOOK_S = 3.0
"""After how long it looks for input of which it heard no ring."""
_SHORTEST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.2
_AGAIN_S = 0.5
_ALL = 1 << 62


class Feeding:
    """`rung` is set when somebody rang for the command. Not for two threads at once."""

    def __init__(
        self,
        command: Command,
        workspace: Workspace,
        transaction: Transactions,
        rung: threading.Event,
    ) -> None:
        self._command_id = command.id
        self._workspace = workspace
        self._transaction = transaction
        self._rung = rung
        self._left: WaitingInput | None = None
        """What was read from the rows and the workspace did not take yet."""
        self._pause_s = _SHORTEST_PAUSE_S
        self._next_at = 0.0
        self._over = not command.spec.get("stdin_open", False)

    def step(self) -> float:
        """Feed what there is and can be taken now. In how many seconds to call it again, where
        nobody rings. Raises WorkspaceUnavailable; a store that does not answer is asked again."""
        if self._over:
            return _LOOK_S
        if self._rung.is_set() or time.monotonic() >= self._next_at:
            try:
                self._next_at = time.monotonic() + self._feed()
            except StoreUnavailable as exc:
                log.warning("input of %s: %s", self._command_id, exc)
                self._next_at = time.monotonic() + _AGAIN_S
        return max(0.0, self._next_at - time.monotonic())

    def _feed(self) -> float:
        if self._left is None:
            self._rung.clear()  # before the look: who rings during it is not missed
            with self._transaction() as tx:
                self._left = tx.input.waiting(self._command_id)
            if self._left is None:  # the command is at its end
                self._over = True
                return _LOOK_S
        given = self._left
        end = given.start
        if given.data:
            taken = self._workspace.feed(self._command_id, given.start, given.data)
            if taken is None or taken < given.start:
                self._give_up()
                return _LOOK_S
            end = min(taken, given.start + len(given.data))
            self._forget(end)
        if end < given.start + len(given.data):
            self._left = WaitingInput(end, given.data[end - given.start :], given.closed)
            return self._pause(moved=end > given.start)
        if given.closed:
            self._workspace.close_stdin(self._command_id)
            self._over = True
        self._left = None
        return 0.0 if given.data and not given.closed else _LOOK_S

    def _forget(self, end: int) -> None:
        with self._transaction() as tx:
            tx.input.fed(self._command_id, end)

    def _give_up(self) -> None:
        """The command closed its stdin, so whoever sends more is to be told."""
        log.info("%s does not read its stdin any more", self._command_id)
        self._over = True
        with self._transaction() as tx:
            tx.input.close(self._command_id)
            tx.input.fed(self._command_id, _ALL)

    def _pause(self, *, moved: bool) -> float:
        """Longer and longer while the command reads nothing."""
        self._pause_s = _SHORTEST_PAUSE_S if moved else min(self._pause_s * 2, _LONGEST_PAUSE_S)
        return self._pause_s
