"""Commands as callers give them, over a target's workspaces: queue, runners, records, streams."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

from conformance.workspaces.targets import Target
from key_service import first_caller, key_service
from live_stack import wait_for
from quick_runner import quick_rules
from rdev.adapters.postgres.database import Database
from rdev.adapters.redis.connect import connect, connect_blocking
from rdev.adapters.redis.streams import Streams
from rdev.adapters.redis.tickets import Tickets
from rdev.domain.commands import Command, Kind
from rdev.domain.events import START
from rdev.domain.projects import Project
from rdev.ports import Workspaces
from rdev.services.exec import Exec, Wish
from rdev.services.runner import Runner


class Serving:
    def __init__(self, target: Target, project: str, database_url: str, redis_url: str) -> None:
        self.stack = ExitStack()
        self.target = target
        self.project = project
        self.database = Database(database_url, pool_size=20, timeout_s=20)
        self.stack.callback(self.database.close)
        client = self.stack.enter_context(connect(redis_url))
        blocking = self.stack.enter_context(connect_blocking(redis_url, block_s=2))
        self.tickets = Tickets(client, blocking)
        self.streams = Streams(client)
        places = (self.database.transaction, self.tickets, self.streams)
        self.exec = Exec(*places, default_timeout_s=100, queue_depth=100)
        self.by = first_caller(key_service(self.database, redis_url), self.database)
        with self.database.transaction() as tx:
            tx.projects.insert(Project(project, datetime.now(UTC)), self.by.key.id)

    @contextmanager
    def runner(self, workspaces: Workspaces | None = None) -> Iterator[Runner]:
        """One that hands over what still runs when it is left."""
        rules = quick_rules(slots=8, max_concurrent=8)
        places = (self.database.transaction, self.tickets, self.streams)
        name = f"runner-{threading.active_count()}"
        runner = Runner(name, *places, workspaces or self.target.workspaces, rules)
        thread = threading.Thread(target=runner.run, daemon=True)
        thread.start()
        try:
            yield runner
        finally:
            runner.stop()
            thread.join(60)

    def submit(self, command: str, *, output_mb: int | None = None, **more: Any) -> Command:
        limits = {"output_mb": output_mb} if output_mb else {}
        wish = Wish(Kind.SHELL, {"command": command, "limits": limits}, **more)
        return self.exec.submit(self.by, self.project, wish)

    def get(self, command: Command) -> Command:
        return self.exec.get(self.by, self.project, command.id)

    def ended(self, command: Command) -> Command:
        wait_for(lambda: self.get(command).status.final, 120)
        return self.get(command)

    def cancelled(self, line: str, *, once_it_said: bytes) -> Command:
        with self.runner():
            command = self.submit(line)
            wait_for(lambda: self.streamed(command) == once_it_said)
            self.exec.cancel(self.by, self.project, command.id)
            return self.ended(command)

    def streamed(self, command: Command, stream: str = "stdout") -> bytes:
        """All of it, as it stands in the command's stream."""
        entries = self.streams.read(self.project, command.id, START)
        return b"".join(entry.data for entry in entries if entry.stream == stream)

    def survivors(self, command: Command) -> int:
        return self.target.workspaces.of(self.project).survivors(command.id)
