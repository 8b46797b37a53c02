"""What follows on a closed record: its event, and its workspace cleaned up.

In that order, and noted only when all of it is done: a runner that dies in between leaves the rest
to the sweep. However often it is done, by however many, the result is the same.
"""

import logging

from rdev.domain.commands import Command
from rdev.domain.events import FINISHED, Announced
from rdev.domain.records import record_of
from rdev.failpoints import reach
from rdev.ports import EventStreams, Transactions, Workspaces
from rdev.services.following import carry_output

log = logging.getLogger(__name__)


class Closing:
    def __init__(
        self, transaction: Transactions, streams: EventStreams, workspaces: Workspaces
    ) -> None:
        self._transaction = transaction
        self._streams = streams
        self._workspaces = workspaces

    def see_off(self, command: Command) -> None:
        """Publish `command.finished`, clean up, note both. Raises Unavailable and
        WorkspaceUnavailable: then the sweep does it again."""
        reach("announce.before")
        self._announce(command)
        reach("announce.after")
        self._workspaces.of(command.project_id).clean(command.id)
        reach("clean.after")
        with self._transaction() as tx:
            tx.queue.mark_announced(command.id)
        reach("closing.noted")

    def _announce(self, command: Command) -> None:
        """Where Redis lost the stream, it is filled again from the workspace's files first."""
        data = {"command": record_of(command)}
        place = (command.project_id, command.id)
        said = self._streams.announce(*place, FINISHED, data, command.output)
        if said is Announced.BEHIND:
            carry_output(self._workspaces.of(command.project_id), self._streams, command)
            said = self._streams.announce(*place, FINISHED, data, command.output)
        if said is Announced.BEHIND:
            log.error("the output of %s is gone: its stream cannot be completed", command.id)
