"""One claim, seen through: followed to its end, its record closed and seen off. Stores that do not
answer are asked again for as long as the lease is ours."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rdev.domain.commands import Command, Ending, Status, Stopping
from rdev.domain.events import QUEUED, STARTED
from rdev.domain.instants import timestamp
from rdev.domain.records import record_of
from rdev.errors import (
    StoreUnavailable,
    Unavailable,
    WorkspaceNotReady,
    WorkspaceUnavailable,
)
from rdev.failpoints import reach
from rdev.ports import EventStreams, Transaction, Transactions, Workspaces, metrics, tracing
from rdev.services import facts
from rdev.services.asked import Asked
from rdev.services.awaiting import Awaiting
from rdev.services.closing import Closing, count_end
from rdev.services.feeding import Feeding
from rdev.services.flushing import until_flushed
from rdev.services.following import Following
from rdev.services.giving_up import GivingUp
from rdev.services.going_back import GoingBack
from rdev.services.leases import Held, LeaveIt, insist, leave, leave_if_told
from rdev.services.lifecycle import Lifecycle
from rdev.services.messaging import messaging
from rdev.services.pauses import MOST_FAILURES, Errors, Pauses
from rdev.services.rules import Rules

log = logging.getLogger(__name__)

_CERTAIN_S = 30.0
"""For how long after it was renewed nobody need ask whether a lease is ours."""


class Attempt:
    def __init__(
        self,
        transaction: Transactions,
        streams: EventStreams,
        workspaces: Workspaces,
        closing: Closing,
        rules: Rules,
        stopping: threading.Event,
        lifecycle: Lifecycle,
        *,
        on_wait: Callable[[float], None],
    ) -> None:
        """`on_wait`: see GoingBack."""
        self._lifecycle = lifecycle
        self._transaction = transaction
        self._streams = streams
        self._workspaces = workspaces
        self._closing = closing
        self._rules = rules
        self._stopping = stopping
        self._going_back = GoingBack(transaction, workspaces, rules, stopping, on_wait=on_wait)

    def see_through(self, held: Held) -> None:
        """Raises LeaveIt where the lease is lost or the runner is to stop."""
        command = held.claim.command
        made_in = command.trace_context or ""
        with tracing.span(
            f"process commands.{command.priority}",
            messaging(command.priority, command.id, "process"),
            kind="consumer",
            # One trace a command, and as the conventions want it a link to where it was queued.
            parent=made_in,
            link=made_in,
        ) as span:
            span.set("rdev.claim", command.epoch)
            span.set("rdev.project", command.project_id)
            try:
                ending = self._overdue(held) or self._follow(held)
                if ending is not None:
                    self._flush(held, ending)
                    self._finish(held, ending)
            except LeaveIt:
                left = True
            else:
                left = False
                span.set("rdev.status", ending.status if ending else "queued")
        if left:  # no failure, so none to the span
            raise LeaveIt

    def _overdue(self, held: Held) -> Ending | None:
        """Of what had waited for longer than it may as it was claimed: no sweep had seen that."""
        if held.claim.queue_timed_out and self._never_asked(held) and not held.cancel:
            return Ending.never_ran(reason="queue_timeout")
        return None

    def _follow(self, held: Held) -> Ending | None:
        """The command's end, or None where it went back into the queue."""
        seeing: Following | Awaiting | None = None
        pauses, errors = Pauses(self._stopping), Errors()
        giving_up = GivingUp(held, self._lifecycle, self._workspaces, self._streams, self._rules)
        unreachable, began = 0, time.monotonic()
        # Whether its workspace may have been asked to start it; by us where it may have heard that.
        asked = not self._never_asked(held)
        while True:
            leave_if_told(held, self._stopping)
            unanswered: WorkspaceUnavailable | None = None
            try:
                seeing = giving_up.seeing = seeing or self._following(held)
                return seeing.to_its_end()
            except LeaveIt:
                raise
            except WorkspaceNotReady as exc:
                metrics.WORKSPACE_FAILURES.add("not_ready")
                asked = asked or _asked_to_start(seeing)
                if not asked:
                    return self._going_back.wait_for(held, exc.message)
                log.info("workspace of %s: %s", held.claim.command.id, exc)
                unanswered = exc
            except WorkspaceUnavailable as exc:
                metrics.WORKSPACE_FAILURES.add("unavailable")
                log.warning("workspace of %s: %s", held.claim.command.id, exc)
                unreachable += 1
                asked = asked or _asked_to_start(seeing)
                if not asked:
                    return self._going_back.from_silence(held, exc.message, since=began)
                in_vain = unreachable >= MOST_FAILURES and not (seeing and seeing.seen_to_start)
                if in_vain and self._going_back.forestalled(held):
                    return Ending.never_ran(reason="infrastructure", message=exc.message)
                unanswered = exc
            except StoreUnavailable as exc:
                log.warning("following %s: %s", held.claim.command.id, exc)
            except Exception as exc:
                log.exception("following %s", held.claim.command.id)
                asked = asked or _asked_to_start(seeing)
                if not asked:
                    return self._going_back.put_back(held, _why(exc))
                # From the beginning: what it had in mind may be what is wrong.
                seeing = self._awaiting(held, exc) if errors.too_many() else None
            if unanswered is not None:
                lost = giving_up.end(unanswered)
                if lost is not None:
                    return lost
            pauses.pause()

    def _flush(self, held: Held, ending: Ending) -> None:
        """What the record will say that it wrote is to be there after a power cut too."""
        if ending.exit_code is None:  # nobody saw to that
            return
        command = held.claim.command
        until_flushed(
            lambda: self._workspaces.of(command.project_id, command.workspace_life),
            command.id,
            limit_s=self._rules.flush_s,
            interrupted=lambda: leave_if_told(held, self._stopping),
            step_aside=held.step_aside,
        )

    def _never_asked(self, held: Held) -> bool:
        """Whether certainly no runner before has asked the workspace to start it. Where that can
        be stopped, the row names the life of its files before anybody asks."""
        command = held.claim.command
        noted = command.workspace_life is not None or command.started_at is not None
        return held.claim.surely_first or (self._workspaces.stoppable and not noted)

    def _following(self, held: Held) -> Following:
        project = self._lifecycle.ready(held.claim.command)
        command = replace(held.claim.command, waiting_for=None)  # no longer
        held.claim = replace(held.claim, command=command)
        workspace = self._workspaces.of(command.project_id, command.workspace_life)
        return Following(
            held.claim,
            {**(project.env if project else {}), **held.claim.env},
            workspace,
            self._streams,
            self._rules,
            interrupted=lambda: leave_if_told(held, self._stopping),
            cancel_asked=lambda: held.cancel,
            on_ask=lambda life, boot_id: self._asks(held, life, boot_id),
            on_start=lambda empty: self._tell_start(held, stream_empty=empty),
            on_running=lambda: self._record_start(held),
            on_stop=lambda stop: self._stops(held, stop),
            on_output=lambda: _note_output(held),
            feed=Feeding(command, workspace, self._transaction, held.rung).step,
        )

    def _awaiting(self, held: Held, exc: Exception) -> Awaiting:
        command = held.claim.command
        log.error("%s cannot be followed; its end is waited for", command.id)
        return Awaiting(
            held.claim,
            self._workspaces.of(command.project_id, command.workspace_life),
            self._streams,
            self._rules,
            why=_why(exc),
            interrupted=lambda: leave_if_told(held, self._stopping),
            cancel_asked=lambda: held.cancel,
            on_start=lambda empty: self._tell_start(held, stream_empty=empty),
            on_running=lambda: self._record_start(held),
            on_stop=lambda stop: self._stops(held, stop),
        )

    def _tell_start(self, held: Held, *, stream_empty: bool) -> None:
        """The events before the row: output may follow at once, and the row can be made good. But
        a stream that is not there is begun only for a lease that is ours for certain: a runner
        that slept through the command's end would leave a stream without an end."""
        command = held.claim.command
        if held.started_at is None and not held.start_recorded:
            held.started_at = time.monotonic()
        if stream_empty or time.monotonic() - held.confirmed_at > _CERTAIN_S:
            self._confirm(held)
        record = record_of(command)
        place = (command.project_id, command.id)
        if stream_empty:  # the submitter died before it could, or Redis lost it
            self._streams.announce(*place, QUEUED, {"command": {**record, "status": "queued"}})
        began = timestamp(command.started_at or datetime.now(UTC))
        data = {"command": {**record, "status": "running", "started_at": began}, "attempt": 1}
        self._streams.announce(*place, STARTED, data)
        reach("start.announced")

    def _record_start(self, held: Held) -> None:
        """Of what runs on; of what has ended already, its end records it too."""
        if not held.start_recorded:
            # Not worth an fsync: the workspace's own files say the same.
            self._ours(held, lambda tx: _note_start(tx, held, lasting=False))
            held.start_recorded = True
            reach("start.recorded")

    def _confirm(self, held: Held) -> None:
        self._ours(held, lambda tx: _note_start(tx, held))
        held.start_recorded = True

    def _asks(self, held: Held, life: str, boot_id: str | None) -> None:
        self._ours(held, lambda tx: tx.queue.asked(*held.pair, life, boot_id))
        command = held.claim.command
        first = Asked.of(command).also(life, boot_id)
        asked = replace(command, workspace_life=first.life, boot_id=first.boot_id)
        held.claim = replace(held.claim, command=asked)

    def _stops(self, held: Held, stop: Stopping) -> None:
        self._ours(held, lambda tx: tx.queue.stopping(*held.pair, stop))

    def _ours(self, held: Held, change: Callable[[Transaction], bool]) -> None:
        """Raises LeaveIt where the lease is lost."""
        with self._transaction() as tx:
            ours = change(tx)
        if not ours:
            leave(held)

    def _finish(self, held: Held, ending: Ending) -> None:
        reach("finish.before")
        try:
            closed = insist(held, self._stopping, lambda: self._close(held, ending))
        except LeaveIt:
            raise
        except Exception:
            # What is told beside the end must not stand in the way of the end.
            log.exception("closing %s; again with less", held.claim.command.id)
            least = replace(ending, usage={}, reason_message=None)
            closed = insist(held, self._stopping, lambda: self._close(held, least))
        reach("finish.after")
        if closed is None:
            return
        count_end(closed)
        self._try(lambda: self._closing.see_off(closed))

    def _close(self, held: Held, ending: Ending) -> Command | None:
        with self._transaction() as tx:
            if ending.ran and not held.start_recorded:
                _note_start(tx, held)
            closed = tx.queue.finish(
                *held.pair,
                ending,
                ended_s=None if ending.over_at is None else time.monotonic() - ending.over_at,
                first_output_s=held.first_output_s,
            )
            if closed is not None:
                facts.command_finished(tx, closed)
            return closed

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except (Unavailable, WorkspaceUnavailable) as exc:
            log.warning("left to the sweep: %s", exc)


def _asked_to_start(seeing: Following | Awaiting | None) -> bool:
    return seeing is not None and seeing.asked_to_start


def _why(exc: Exception) -> str:
    """For the record. Only the error's name: its text may hold what nobody is to read."""
    return f"rdev met an error of its own ({type(exc).__name__}); the runner's log has more."


def _note_output(held: Held) -> None:
    """To be written down with the next renewal, or with the end."""
    if held.claim.command.first_output_at is None:
        held.first_output_at = time.monotonic()


def _note_start(tx: Transaction, held: Held, *, lasting: bool = True) -> bool:
    """Record the start, and tell of it where nobody has. False: the lease is lost."""
    first = tx.queue.started(*held.pair, ago_s=held.started_s, lasting=lasting)
    if first:
        began = datetime.now(UTC) - timedelta(seconds=held.started_s)
        facts.command_started(
            tx, replace(held.claim.command, status=Status.RUNNING, started_at=began)
        )
    return first is not None
