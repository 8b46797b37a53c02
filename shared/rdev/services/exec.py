"""Exec: commands go into the queue here, and are read and cancelled. Running them is `runner`'s."""

import hashlib
import hmac
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rdev.domain.callers import Caller
from rdev.domain.commands import Command, Kind, Priority, Submission
from rdev.domain.events import FINISHED, QUEUED
from rdev.domain.git_arguments import unattended
from rdev.domain.ids import new_id
from rdev.domain.records import record_of
from rdev.domain.wakeups import COMMAND_QUEUED
from rdev.domain.workspaces import State
from rdev.errors import (
    Conflict,
    Detail,
    InvalidRequest,
    NotFound,
    TooManyRequests,
    Unavailable,
)
from rdev.failpoints import reach
from rdev.ports import EventStreams, QueueTickets, Transaction, Transactions, tracing
from rdev.services import facts
from rdev.services.closing import count_end
from rdev.services.messaging import messaging

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller asks for, parsed and valid."""

    kind: Kind
    spec: Mapping[str, Any]
    priority: Priority = Priority.NORMAL
    timeout_s: float | None = None
    queue_timeout_s: float | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    labels: Mapping[str, str] = field(default_factory=dict)


def cloning(url: str) -> Wish:
    """What fills an empty workspace from a git repository. As everywhere, git asks for no
    password and speaks no protocol of which the URL could choose a program to run."""
    return Wish(
        kind=Kind.GIT,
        spec={"args": ["clone", "--quiet", "--", url, "."], "cwd": ".", "limits": {}},
        priority=Priority.HIGH,
        env=unattended(),
        labels={"rdev": "setup"},
    )


class Exec:
    def __init__(
        self,
        transaction: Transactions,
        tickets: QueueTickets,
        streams: EventStreams,
        *,
        default_timeout_s: float,
        queue_depth: int,
        wake_runner: Callable[[str], None] = lambda _kind: None,
        enforceable: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        """`enforceable` names the limits to which commands can be held where they run."""
        self._transaction = transaction
        self._tickets = tickets
        self._wake_runner = wake_runner
        self._streams = streams
        self._default_timeout_s = default_timeout_s
        self._queue_depth = queue_depth
        self._enforceable = enforceable

    def submit(
        self,
        by: Caller,
        project_id: str,
        wish: Wish,
        *,
        idempotency_key: str | None = None,
        request_body: bytes = b"",
    ) -> Command:
        """Queue a command: durable once this returns. The same Idempotency-Key gives the same
        command for 24 h, or Conflict where the request differs. Raises TooManyRequests where
        the key's queue is full."""
        self._refuse_unenforceable(wish)
        by.must_see(project_id)
        command_id = new_id("cmd")
        sending = messaging(wish.priority, command_id, "send")
        with tracing.span(f"send commands.{wish.priority}", sending, kind="producer"):
            with self._transaction() as tx:
                project = tx.projects.keep(project_id)
                if project is None:
                    raise NotFound(f"Project not found: {project_id}")
                project.refuse_if_deleting()
                if idempotency_key is not None:
                    digest = hashlib.sha256(wish.kind.encode() + b"\0" + request_body).digest()
                    known = tx.commands.remember_request(
                        by.key.id, project_id, idempotency_key, digest, command_id
                    )
                    if known is not None:
                        return _same_again(tx.commands.get(project_id, known[0]), known[1], digest)
                waiting = tx.commands.waiting_of(by.key.id, most=self._queue_depth)
                if waiting >= self._queue_depth:
                    raise TooManyRequests(
                        f"{self._queue_depth} commands of this key wait already. "
                        "Try again when some of them have run.",
                        retry_after_s=5,
                    )
                command = self.insert(tx, by, project_id, command_id, wish)
            self.wake(command, position=waiting + 1, stopped=project.stopped)
            return command

    def insert(
        self, tx: Transaction, by: Caller, project_id: str, command_id: str, wish: Wish
    ) -> Command:
        """Queue it within a transaction; `wake` is to follow its commit."""
        command = tx.commands.insert(self._submission(by, project_id, command_id, wish))
        if wish.spec.get("stdin_open"):
            tx.input.open(command_id, at=len(wish.stdin))
        facts.command_queued(tx, by, command, wish.env)
        return command

    def get(self, by: Caller, project_id: str, command_id: str) -> Command:
        """Raises NotFound, also for what the key may not see."""
        message = f"Command not found: {command_id}"
        by.must_see(project_id, message)
        with self._transaction(reading=True) as tx:
            command = tx.commands.get(project_id, command_id)
        if command is None:
            raise NotFound(message)
        return command

    def list(
        self,
        by: Caller,
        project_id: str,
        *,
        before: str | None,
        limit: int,
        status: str | None = None,
        kind: str | None = None,
        key_id: str | None = None,
        since: datetime | None = None,
    ) -> Sequence[Command]:
        by.must_see(project_id)
        with self._transaction(reading=True) as tx:
            commands = tx.commands.list(
                project_id,
                before=before,
                limit=limit,
                status=status,
                kind=kind,
                key_id=key_id,
                since=since,
            )
            if not commands and tx.projects.get(project_id) is None:
                raise NotFound(f"Project not found: {project_id}")
        return commands

    def cancel(self, by: Caller, project_id: str, command_id: str) -> Command:
        """End a waiting command at once; ask the runner to end a running one. Idempotent."""
        command = self.get(by, project_id, command_id)
        with self._transaction() as tx:
            cancelled = tx.commands.cancel_queued(command_id)
            asked = cancelled is None and tx.commands.ask_to_cancel(command_id)
            if cancelled is not None or asked:
                facts.command_cancel_requested(tx, by, command)
            if cancelled is not None:
                facts.command_finished(tx, cancelled)
        if cancelled is not None:
            count_end(cancelled)
            self._best_effort(lambda: self._announce_finished(cancelled))
            return cancelled
        if asked:
            self._best_effort(lambda: self._tickets.ring(command_id))
        return self.get(by, project_id, command_id)

    def queue(self) -> Sequence[dict[str, object]]:
        """By priority: how many wait, the oldest's age in seconds, how many run."""
        with self._transaction(reading=True) as tx:
            return tx.queue.depth()

    def _refuse_unenforceable(self, wish: Wish) -> None:
        asked = [name for name in wish.spec.get("limits", ()) if name != "output_mb"]
        missing = sorted(set(asked) - set(self._enforceable())) if asked else []
        if missing:
            details = tuple(
                Detail(f"limits.{name}", f"{name} is not enforceable here") for name in missing
            )
            message = ", ".join(detail.message for detail in details)
            raise InvalidRequest(message, details=details)

    def _submission(self, by: Caller, project_id: str, command_id: str, wish: Wish) -> Submission:
        return Submission(
            id=command_id,
            project_id=project_id,
            key_id=by.key.id,
            kind=wish.kind,
            priority=wish.priority,
            spec=wish.spec,
            timeout_s=wish.timeout_s or self._default_timeout_s,
            queue_timeout_s=wish.queue_timeout_s,
            env=wish.env,
            stdin=wish.stdin,
            labels=wish.labels,
            trace_context=tracing.context(),
        )

    def wake(self, command: Command, position: int, *, stopped: bool = False) -> None:
        """Announce a queued command, and have somebody take it. Best effort. `stopped`: its
        workspace is, and has to be started first."""
        data: dict[str, Any] = {"command": record_of(command), "position": position}
        if stopped:
            data["workspace"] = {"state": State.STOPPED, "message": "It is started for this."}

        def announce_and_offer() -> None:
            # The event first: it must be the stream's first entry.
            reach("submit.committed")
            self._streams.announce(command.project_id, command.id, QUEUED, data)
            reach("submit.announced")
            self._tickets.offer(command.priority, command.id)
            reach("submit.offered")
            self._wake_runner(COMMAND_QUEUED)

        self._best_effort(announce_and_offer)

    def _announce_finished(self, command: Command) -> None:
        self._streams.announce(
            command.project_id,
            command.id,
            FINISHED,
            {"command": record_of(command)},
            command.output,
        )
        if command.epoch == 1:  # never claimed before, so nothing is to be cleaned up either
            with self._transaction() as tx:
                tx.queue.mark_announced(command.id)

    def _best_effort(self, act: Callable[[], None]) -> None:
        """The row is committed: whatever fails from here on, the sweep makes good."""
        try:
            act()
        except Unavailable as exc:
            log.warning("left to the sweep: %s", exc)


def _same_again(command: Command | None, known: bytes, digest: bytes) -> Command:
    if command is None or not hmac.compare_digest(known, digest):
        raise Conflict("This Idempotency-Key was used with another request. Use a new one.")
    return command
