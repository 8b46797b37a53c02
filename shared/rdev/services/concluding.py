"""The last step of a command's way into the archive: the rest of its stream stored, Redis told to
forget, its workspace cleaned up after it. However often it is done, the result is the same."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rdev.domain.commands import Command
from rdev.domain.events import to_json
from rdev.domain.records import record_of
from rdev.domain.segments import size_of
from rdev.errors import RdevError, StoreUnavailable, WorkspaceUnavailable
from rdev.failpoints import reach
from rdev.ports import EventStreams, SegmentArchive, Transactions, Workspaces, tracing
from rdev.services.closing import announce_end, clean_up, ended_long_ago
from rdev.services.trails import SEGMENT_BYTES, Trail

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ArchiveRules:
    retention_days: float = 30.0
    """0: for ever."""
    redis_keeps_s: int = 900
    """How long after its end Redis still holds the last of a command's stream."""
    overdue_s: float = 30.0
    """When a sweep takes up what ended: its own runner has surely had its try."""
    longest_pause_s: float = 30.0
    """Between two tries while the archive does not answer."""


class Concluding:
    def __init__(
        self,
        transaction: Transactions,
        streams: EventStreams,
        workspaces: Workspaces,
        archive: SegmentArchive,
        rules: ArchiveRules,
        *,
        stopping: Callable[[], bool],
    ) -> None:
        self._transaction = transaction
        self._streams = streams
        self._workspaces = workspaces
        self._archive = archive
        self._rules = rules
        self._stopping = stopping

    def all(self, ended: Sequence[tuple[Command, Trail]]) -> None:
        """Conclude these, and note those that are done. Raises what a store raises: it would be
        the same for the others."""
        done: list[str] = []
        try:
            for command, trail in ended:
                try:
                    with tracing.span("archive", parent=command.trace_context or ""):
                        cleaned = self._conclude(command, trail)
                except RdevError:
                    raise
                except Exception:
                    log.exception("could not archive %s; it is tried again", command.id)
                else:
                    if cleaned:
                        done.append(command.id)
        finally:
            if done:
                with self._transaction() as tx:
                    tx.archive.mark(done)
                reach("archive.marked")

    def trail(self, command: Command) -> Trail:
        place = (command.project_id, command.id)
        # That little is archived at the end only.
        small = command.status.final and size_of(command.output, "all") < SEGMENT_BYTES
        return Trail(self._streams, self._archive, place, untouched=small)

    def _conclude(self, command: Command, trail: Trail) -> bool:
        """False where its files could not be removed: all of it is to be done again."""
        with trail.lock:
            trail.begin()
            self._store_rest(command, trail)
            trail.trim()
        self._streams.forget(*trail.place, after_s=self._rules.redis_keeps_s)
        reach("archive.concluded")
        try:
            clean_up(self._workspaces, command)
        except WorkspaceUnavailable as exc:
            log.warning("files of %s stay behind: %s", command.id, exc)
            return ended_long_ago(command)
        return True

    def _store_rest(self, command: Command, trail: Trail) -> None:
        for attempt in ("as it is", "restored"):
            while trail.store():
                trail.trim()
                if self._stopping():
                    raise StoreUnavailable("The runner is stopping.")
            if trail.complete:
                return
            if attempt == "as it is":
                if trail.look_again():
                    return
                # Redis lost it before it was archived
                announce_end(self._streams, self._workspaces, command)
                if trail.look_again():
                    # Another runner archived it meanwhile, and cleaned up under our hands: what
                    # we restored may have holes, what it archived has none.
                    self._streams.forget(*trail.place, after_s=0)
                    return
        log.error("the stream of %s is gone: its archive has holes", command.id)
        trail.conclude(command.output, to_json({"command": record_of(command)}))
