"""How commands ended, for readers of streams that are kept nowhere any more."""

from rdev.domain.commands import Position
from rdev.domain.events import to_json
from rdev.domain.records import record_of
from rdev.ports import Transactions


class Ends:
    def __init__(self, transaction: Transactions) -> None:
        self._transaction = transaction

    def of(self, project_id: str, command_id: str) -> tuple[Position, bytes] | None:
        """A command's totals and the JSON of its command.finished, once its whole stream went
        into the archive: before that, what is missing may come back. Raises StoreUnavailable."""
        with self._transaction() as tx:
            command = tx.commands.get(project_id, command_id)
            if command is None or not tx.archive.is_archived(command_id):
                return None
        return command.output, to_json({"command": record_of(command)})
