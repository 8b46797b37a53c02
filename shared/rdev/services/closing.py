"""What follows on a closed record: its event, and its workspace cleaned up; with an archive, that
cleans up once the stream is stored there.

In that order, and noted only when all of it is done: a runner that dies in between leaves the rest
to the sweep. However often it is done, by however many, the result is the same.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from rdev.domain.commands import Command, Status
from rdev.domain.events import FINISHED, QUEUED, STARTED, Announced
from rdev.domain.records import record_of
from rdev.errors import WorkspaceUnavailable
from rdev.failpoints import reach
from rdev.ports import EventStreams, Transactions, Workspaces, metrics
from rdev.services.output import carry_output

log = logging.getLogger(__name__)

_GIVEN_UP_AFTER = timedelta(days=1)
"""After which files of commands stay where they are, if their workspace is not there."""


def count_end(command: Command) -> None:
    """Once the transaction that closed its record has committed."""
    metrics.COMMANDS_FINISHED.add(
        command.kind.value, command.status.value, command.reason or "none"
    )


class Closing:
    """`archive` takes commands whose end is announced, and cleans up after them."""

    def __init__(
        self,
        transaction: Transactions,
        streams: EventStreams,
        workspaces: Workspaces,
        archive: Callable[[Command], None] | None = None,
    ) -> None:
        self._transaction = transaction
        self._streams = streams
        self._workspaces = workspaces
        self._archive = archive

    def see_off(self, command: Command) -> None:
        """Publish `command.finished`, clean up, note both. Raises Unavailable and
        WorkspaceUnavailable: then the sweep does it again."""
        reach("announce.before")
        announce_end(self._streams, self._workspaces, command)
        reach("announce.after")
        if self._archive is None:
            clean_up(self._workspaces, command)
            reach("clean.after")
        with self._transaction() as tx:
            tx.queue.mark_announced(command.id)
        reach("closing.noted")
        if self._archive is not None:
            self._archive(command)


def clean_up(workspaces: Workspaces, command: Command) -> None:
    """Remove its files; and first what is left of one that was given up as its workspace did not
    answer. Raises WorkspaceUnavailable."""
    workspace = workspaces.of(command.project_id, command.workspace_life)
    if command.status is Status.LOST:
        workspace.signal(command.id, "KILL")
    workspace.clean(command.id)


def announce_end(streams: EventStreams, workspaces: Workspaces, command: Command) -> None:
    """Publish `command.finished`. However often: the stream takes it once. Where Redis lost the
    stream, it is filled again first from the workspace's files; where those are gone too, it is
    not begun, for it could not be completed: what is archived is all that can be had."""
    record = record_of(command)
    place = (command.project_id, command.id)
    said = streams.announce(*place, FINISHED, {"command": record}, command.output)
    if said is Announced.BEHIND and _files_are_there(workspaces, command):
        queued, running = {**record, "status": "queued"}, {**record, "status": "running"}
        streams.announce(*place, QUEUED, {"command": queued})
        streams.announce(*place, STARTED, {"command": running, "attempt": 1})
        carry_output(
            workspaces.of(command.project_id, command.workspace_life),
            streams,
            command,
            command.output,
        )
        said = streams.announce(*place, FINISHED, {"command": record}, command.output)
    if said is Announced.BEHIND:
        log.warning("the stream of %s cannot be completed in Redis", command.id)


def ended_long_ago(command: Command) -> bool:
    """So that its workspace is not waited for any more."""
    ended = command.finished_at
    return ended is None or datetime.now(UTC) - ended > _GIVEN_UP_AFTER


def _files_are_there(workspaces: Workspaces, command: Command) -> bool:
    ends = (("stdout", command.output.stdout), ("stderr", command.output.stderr))
    try:
        read = workspaces.of(command.project_id, command.workspace_life).read
        return all(not end or read(command.id, stream, end - 1, 1) for stream, end in ends)
    except WorkspaceUnavailable:
        if ended_long_ago(command):
            return False
        raise
