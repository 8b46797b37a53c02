"""How commands ended, for readers of streams that are kept nowhere any more."""

from collections.abc import Callable
from dataclasses import dataclass

from rdev.domain.commands import Position
from rdev.domain.events import to_json
from rdev.domain.records import record_of
from rdev.ports import Transactions


@dataclass(frozen=True, slots=True)
class End:
    """`finished` is the JSON of the command.finished. `expired`: its output was removed when its
    time was over; else it should still be there."""

    totals: Position
    finished: bytes
    expired: bool


Ended = Callable[[str, str], End | None]
"""Of (project, command): its end, if it has ended for good and Redis is not expected to hold its
stream any more."""


class Ends:
    def __init__(self, transaction: Transactions) -> None:
        self._transaction = transaction

    def of(self, project_id: str, command_id: str) -> End | None:
        """A command's, once its whole stream went into the archive: before that, what is missing
        may come back. Raises StoreUnavailable."""
        with self._transaction() as tx:
            command = tx.commands.get(project_id, command_id)
            if command is None or not tx.archive.is_archived(command_id):
                return None
            expired = tx.archive.is_removed(command_id)
        return End(command.output, to_json({"command": record_of(command)}), expired)
