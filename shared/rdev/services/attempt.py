"""One claim, seen through: followed to its end, its record closed and seen off. Stores that do not
answer are asked again for as long as the lease is ours."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from rdev.domain.commands import Command, Ending, Status, Stopping
from rdev.domain.events import QUEUED, STARTED
from rdev.domain.records import record_of, timestamp
from rdev.errors import StoreUnavailable, Unavailable, WorkspaceUnavailable
from rdev.failpoints import reach
from rdev.ports import EventStreams, Transactions, Workspaces
from rdev.services.closing import Closing
from rdev.services.feeding import Feeding
from rdev.services.following import Following, Rules
from rdev.services.leases import Held

log = logging.getLogger(__name__)

T = TypeVar("T")

_MOST_FAILURES = 5
_LONGEST_PAUSE_S = 2.0
_CALM_S = 10.0


class LeaveIt(Exception):
    """This runner is stopping, or the command belongs to another claim now."""


class _Pauses:
    """Waits between attempts, longer and longer until it has been calm for a while."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._next_s = 0.1
        self._last = 0.0

    def pause(self) -> None:
        if time.monotonic() - self._last > _CALM_S:
            self._next_s = 0.1
        self._stopping.wait(self._next_s)
        self._next_s = min(self._next_s * 2, _LONGEST_PAUSE_S)
        self._last = time.monotonic()


class Attempt:
    def __init__(
        self,
        transaction: Transactions,
        streams: EventStreams,
        workspaces: Workspaces,
        closing: Closing,
        rules: Rules,
        stopping: threading.Event,
    ) -> None:
        self._transaction = transaction
        self._streams = streams
        self._workspaces = workspaces
        self._closing = closing
        self._rules = rules
        self._stopping = stopping

    def see_through(self, held: Held) -> None:
        """Raises LeaveIt where the lease is lost or the runner is to stop."""
        ending = self._follow(held)
        if ending is not None:
            self._finish(held, ending)

    def _follow(self, held: Held) -> Ending | None:
        """The command's end, or None where it went back into the queue."""
        following: Following | None = None
        pauses = _Pauses(self._stopping)
        unreachable = 0
        while True:
            self._leave_if_told(held)
            try:
                following = following or self._following(held)
                return following.to_its_end()
            except WorkspaceUnavailable as exc:
                log.warning("workspace of %s: %s", held.claim.command.id, exc)
                unreachable += 1
                if not (following and following.launched):
                    if held.claim.surely_first:
                        return self._put_back(held)
                    if unreachable >= _MOST_FAILURES and self._forestalled(held):
                        return Ending(Status.FAILED, reason="infrastructure", ran=False)
            except StoreUnavailable as exc:
                log.warning("following %s: %s", held.claim.command.id, exc)
            pauses.pause()

    def _following(self, held: Held) -> Following:
        command = held.claim.command
        workspace = self._workspaces.of(command.project_id)
        with self._transaction() as tx:
            project = tx.projects.get(command.project_id)
        return Following(
            held.claim,
            {**(project.env if project else {}), **held.claim.env},
            workspace,
            self._streams,
            self._rules,
            interrupted=lambda: self._leave_if_told(held),
            cancel_asked=lambda: held.cancel,
            on_start=lambda empty: self._started(command, stream_empty=empty),
            on_stop=lambda stop: self._stops(held, stop),
            feed=Feeding(command, workspace, self._transaction, held.rung).step,
        )

    def _leave_if_told(self, held: Held) -> None:
        if self._stopping.is_set() or held.lost:
            raise LeaveIt

    def _started(self, command: Command, *, stream_empty: bool) -> None:
        """The events, then the row: output may follow at once, and the row can be made good."""
        record = record_of(command)
        place = (command.project_id, command.id)
        if stream_empty:  # the submitter died before it could, or Redis lost it
            self._streams.announce(*place, QUEUED, {"command": {**record, "status": "queued"}})
        began = timestamp(command.started_at or datetime.now(UTC))
        data = {"command": {**record, "status": "running", "started_at": began}, "attempt": 1}
        self._streams.announce(*place, STARTED, data)
        reach("start.announced")
        if command.started_at is None:
            with self._transaction() as tx:
                tx.queue.started(command.id, command.epoch)
            reach("start.recorded")

    def _stops(self, held: Held, stop: Stopping) -> None:
        with self._transaction() as tx:
            ours = tx.queue.stopping(*held.pair, stop)
        if not ours:
            held.lost = True
            raise LeaveIt

    def _put_back(self, held: Held) -> Ending | None:
        """For a command that certainly has not started. One that was put back too often, or is to
        be cancelled, ends; planting its token is for certainty's sake where that can be had."""
        command = held.claim.command
        if held.cancel or held.claim.failures + 1 >= _MOST_FAILURES:
            self._forestalled(held)
            if held.cancel:
                return Ending(Status.CANCELLED, ran=False)
            return Ending(Status.FAILED, reason="infrastructure", ran=False)
        self._try(lambda: self._workspaces.of(command.project_id).clean(command.id))
        reach("requeue.before")
        if self._insist(held, lambda: self._requeue(held)) is None:
            held.lost = True  # or its cancel was asked for: the next claim sees to it
            raise LeaveIt
        reach("requeue.after")
        return None

    def _requeue(self, held: Held) -> int | None:
        with self._transaction() as tx:
            return tx.queue.requeue(*held.pair, delay_s=2.0**held.claim.failures)

    def _forestalled(self, held: Held) -> bool:
        """Whether it is certain now that it never starts."""
        command = held.claim.command
        if command.started_at is not None:
            return False
        try:
            return self._workspaces.of(command.project_id).forestall(command.id)
        except WorkspaceUnavailable:
            return False

    def _finish(self, held: Held, ending: Ending) -> None:
        reach("finish.before")
        closed = self._insist(held, lambda: self._close(held, ending))
        reach("finish.after")
        if closed is None:
            return
        self._try(lambda: self._closing.see_off(closed))

    def _close(self, held: Held, ending: Ending) -> Command | None:
        with self._transaction() as tx:
            return tx.queue.finish(*held.pair, ending)

    def _insist(self, held: Held, act: Callable[[], T]) -> T:
        """Again until the store answers; leave it when told to."""
        pauses = _Pauses(self._stopping)
        while True:
            try:
                return act()
            except StoreUnavailable as exc:
                self._leave_if_told(held)
                log.warning("closing %s: %s", held.claim.command.id, exc)
                pauses.pause()

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except (Unavailable, WorkspaceUnavailable) as exc:
            log.warning("left to the sweep: %s", exc)
