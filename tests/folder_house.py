"""The services over real stores, with one project in a folder, and a way to make runners."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from quick_runner import quick_rules
from rdev.adapters.postgres.database import Database
from rdev.adapters.redis.connect import connect, connect_blocking
from rdev.adapters.redis.streams import Streams
from rdev.adapters.redis.tickets import Tickets
from rdev.adapters.workspaces.local import LocalWorkspaces
from rdev.domain.callers import Caller
from rdev.domain.commands import Command, Kind, Priority
from rdev.domain.keys import Key
from rdev.domain.projects import Project
from rdev.services.exec import Exec, Wish
from rdev.services.runner import Runner

BY = Caller(Key("key-test", "test", "", ("admin",), datetime.now(UTC)))
PROJECT = "demo"
ENOUGH_S = 30.0


class House:
    """Everything a runner needs, and a way to make runners."""

    def __init__(self, database: Database, database_url: str, redis_url: str, folder: Path) -> None:
        self.database = database
        self.database_url = database_url
        self.by = BY
        self.client = connect(redis_url)
        self.blocking = connect_blocking(redis_url, block_s=2)
        self.tickets = Tickets(self.client, self.blocking)
        self.streams = Streams(self.client)
        self.folder = folder
        self.workspaces = LocalWorkspaces(folder / "w", folder / "c", drain_s=0.1)
        self.workspaces.create(PROJECT, git_url=None)
        self.exec = Exec(
            database.transaction,
            self.tickets,
            self.streams,
            default_timeout_s=60,
            queue_depth=100,
        )
        with database.transaction() as tx:
            tx.projects.insert(Project(PROJECT, datetime.now(UTC)), BY.key.id)
        with psycopg.connect(database_url) as sql:
            sql.execute(
                "insert into keys (id, name, hint, secret_hash, scopes) "
                "values (%s, 'test', '', 'hash', '{admin}')",
                (BY.key.id,),
            )
        self.runners: list[tuple[Runner, threading.Thread]] = []

    def refit(self, **options: Any) -> None:
        """Other options of its workspaces, from now on."""
        folder = self.folder
        self.workspaces.close()
        self.workspaces = LocalWorkspaces(folder / "w", folder / "c", drain_s=0.1, **options)

    @property
    def workspace(self) -> Any:
        return self.workspaces.of(PROJECT)

    def runner(self, **rules_: Any) -> Runner:
        rules = quick_rules(**rules_)
        name = f"runner-{len(self.runners)}"
        places = (self.database.transaction, self.tickets, self.streams, self.workspaces)
        return Runner(name, *places, rules)

    def start(self, **rules: Any) -> Runner:
        runner = self.runner(**rules)
        thread = threading.Thread(target=runner.run, daemon=True)
        self.runners.append((runner, thread))
        thread.start()
        return runner

    def submit(self, command: str = "true", *, project: str = PROJECT, **more: Any) -> Command:
        return self.exec.submit(BY, project, Wish(Kind.SHELL, {"command": command}, **more))

    def get(self, command: Command) -> Command:
        return self.exec.get(BY, command.project_id, command.id)

    def ended(self, command: Command) -> Command:
        await_(lambda: self.get(command).status.final)
        return self.get(command)

    def claim(self) -> Any:
        """Claim as a runner that then does nothing more would."""
        with self.database.transaction() as tx:
            return tx.queue.claim(Priority.NORMAL, runner="dead", lease_s=0.1, max_concurrent=5)

    def sql(self, statement: str) -> None:
        with psycopg.connect(self.database_url) as sql:
            sql.execute(statement)

    def close(self) -> None:
        for runner, _ in self.runners:
            runner.stop()
        for _, thread in self.runners:
            thread.join(ENOUGH_S)
        self.workspaces.close()
        self.client.close()
        self.blocking.close()


def await_(condition: Callable[[], Any]) -> Any:
    until = time.monotonic() + ENOUGH_S
    while not (found := condition()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
    return found
