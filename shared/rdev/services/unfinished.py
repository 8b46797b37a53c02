"""Commands that stand in the way of what would take their workspace from them."""

from rdev.errors import Conflict
from rdev.ports import Transaction


def refuse_unfinished(tx: Transaction, project_id: str) -> None:
    """Raises Conflict while a command of the project waits or runs."""
    unfinished = tx.commands.unfinished_of(project_id)
    if unfinished is not None:
        raise Conflict(
            f"A command of this project is {unfinished.status}: {unfinished.id}. "
            "Cancel it, or wait for its end, and try again."
        )
