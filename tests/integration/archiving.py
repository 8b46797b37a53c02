"""A whole rdev without HTTP, for the archive's tests: real stores, a runner, readers."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import redis

from rdev.adapters.archive.objects import ObjectArchive
from rdev.adapters.postgres.database import Database
from rdev.adapters.redis.connect import connect, connect_blocking
from rdev.adapters.redis.feed import Feed
from rdev.adapters.redis.streams import Streams
from rdev.adapters.redis.tickets import Tickets
from rdev.adapters.workspaces.local import LocalWorkspaces
from rdev.domain.commands import Command, Kind, Submission
from rdev.domain.events import FINISHED, GAP, OUTPUT, Entry, EntryId
from rdev.domain.ids import new_id
from rdev.services.archive import Archiver
from rdev.services.concluding import ArchiveRules
from rdev.services.ends import Ends
from rdev.services.events import Events
from rdev.services.exec import Wish
from rdev.services.hub import Hub
from rdev.services.rules import Rules
from rdev.services.runner import Runner, RunnerRules

ENOUGH_S = 90.0
PROJECT = "demo"


def eventually(holds: Callable[[], object]) -> None:
    """For what no event announces."""
    deadline = time.monotonic() + ENOUGH_S
    while not holds():
        assert time.monotonic() < deadline, "did not come to hold in time"
        time.sleep(0.02)


def as_line(entry_id, event_type, data):
    """Frames that a test can read back."""
    return repr((tuple(entry_id), event_type, data)).encode() + b"\n"


def lines(chunk):
    found = (eval(line) for line in chunk.splitlines())  # of our own making
    return [Entry(EntryId(*i), event_type, data) for i, event_type, data in found]


def text(entries, stream="stdout"):
    """The output in these frames, checked to lie end to end from where it begins."""
    parts, at = [], None
    for entry in entries:
        if entry.type == OUTPUT and (body := json.loads(entry.data))["stream"] == stream:
            assert at is None or body["offset"] == at, (body["offset"], at)
            parts.append(body["data"].encode())
            at = body["offset"] + len(parts[-1])
    return b"".join(parts)


def types(entries):
    return [entry.type for entry in entries]


@dataclass
class House:
    """Everything that a runner and the events function are made of."""

    database: Database
    client: redis.Redis
    blocking: redis.Redis
    streams: Streams
    archive: ObjectArchive
    workspaces: LocalWorkspaces
    folder: Path
    urls: dict[str, str]

    def submit(self, line: str, *, project: str = PROJECT) -> Command:
        asked = Submission(
            id=new_id("cmd"),
            project_id=project,
            key_id="key-1",
            kind=Kind.SHELL,
            priority="normal",
            spec={"command": line},
            timeout_s=600,
        )
        with self.database.transaction() as tx:
            command = tx.commands.insert(asked)
        self.streams.announce(project, command.id, "command.queued", {})
        self.client.xadd("rdev:nothing", {"a": ""}, maxlen=1)
        Tickets(self.client, self.blocking).offer(command.priority, command.id)
        return command

    def record(self, command: Command) -> Command:
        with self.database.transaction() as tx:
            return tx.commands.get(command.project_id, command.id)

    def is_archived(self, command: Command) -> bool:
        with self.database.transaction() as tx:
            return tx.archive.is_archived(command.id)

    def sql(self, statement: str) -> None:
        with self.database.transaction() as tx:
            tx.queue._sql.execute(statement)

    def until_archived(self, command: Command) -> Command:
        eventually(lambda: self.is_archived(command))
        return self.record(command)

    def kept(self, command: Command) -> int:
        """How many bytes of its output Redis holds."""
        entries = self.client.xrange(f"rdev:{{{command.project_id}}}:{command.id}")
        return sum(len(fields[b"d"]) for _, fields in entries if b"s" in fields)

    def runner(self, archive: ObjectArchive | None = None, **keeping) -> Runner:
        stores = (self.streams, self.workspaces)
        transaction = self.database.transaction
        keeping = {"overdue_s": 1, "longest_pause_s": 1, **keeping}
        archiver = Archiver(transaction, *stores, archive or self.archive, ArchiveRules(**keeping))
        rules = RunnerRules(
            slots=4, lease_s=2, renew_s=0.5, sweep_s=0.3, max_concurrent=4,
            following=Rules(kill_grace_s=1),
        )  # fmt: skip
        tickets = Tickets(self.client, connect_blocking(self.urls["redis"], block_s=5))
        name = new_id("run")
        return Runner(name, transaction, tickets, *stores, rules, archiver)

    @contextmanager
    def running(self, archive: ObjectArchive | None = None, **keeping):
        runner = self.runner(archive, **keeping)
        thread = threading.Thread(target=runner.run)
        thread.start()
        try:
            yield runner
        finally:
            runner.stop()
            thread.join(ENOUGH_S)

    @contextmanager
    def runner_process(self, **env):
        """A runner that can be killed."""
        code = "from rdev import wiring; wiring.resident_runner().run()"
        with (self.folder / "runner.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                env={**os.environ, **self.environment(), **env},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def environment(self) -> dict[str, str]:
        return {
            "RDEV_DATABASE_URL": self.urls["database"],
            "RDEV_REDIS_URL": self.urls["redis"],
            "RDEV_ARCHIVE_URL": self.urls["archive"],
            "RDEV_WORKSPACES_DIR": str(self.folder / "workspaces"),
            "RDEV_COMMANDS_DIR": str(self.folder / "commands"),
            "RDEV_PEPPER": "p" * 32,
            "RDEV_LEASE_S": "2",
            "RDEV_RENEW_S": "0.5",
            "RDEV_SWEEP_S": "0.3",
        }

    @contextmanager
    def events(self, archive: ObjectArchive | None = None):
        feed = Feed(self.client, connect_blocking(self.urls["redis"], block_s=1))
        hub = Hub(feed, as_line, tick_s=0.2)
        ended = Ends(self.database.transaction).of
        try:
            yield Events(hub, self.streams, archive=archive or self.archive, ended=ended)
        finally:
            hub.close()

    def read(self, command: Command, after: str | None = None):
        """A command's events, to its end."""
        with self.events() as events, events.command_reader(PROJECT, command.id, after) as reader:
            return collect(reader)

    def output(self, command: Command, *args) -> bytes:
        with self.events() as events:
            return b"".join(events.output(command.project_id, command.id, *args))


def collect(reader, *, until=FINISHED):
    got = []
    while not any(entry.type == until for entry in got[-20:]):
        chunk = reader.next(ENOUGH_S)
        assert chunk is not None, f"no {until} in time after {types(got)[-5:]}"
        got += lines(chunk)
    return got


@contextmanager
def house(folder: Path, database_url: str, redis_url: str, archive: ObjectArchive, archive_url=""):
    with ExitStack() as stack:
        database = Database(database_url, pool_size=12, timeout_s=20)
        stack.callback(database.close)
        client = stack.enter_context(connect(redis_url, timeout_s=20))
        blocking = stack.enter_context(connect_blocking(redis_url, block_s=5))
        workspaces = LocalWorkspaces(folder / "workspaces", folder / "commands", drain_s=0.1)
        stack.callback(workspaces.close)
        workspaces.create(PROJECT, git_url=None)
        stack.callback(workspaces.delete, PROJECT, lambda: None)
        with database.transaction() as tx:
            tx.queue._sql.execute(
                "insert into keys (id, name, hint, secret_hash, scopes) "
                "values ('key-1', 'k', 'h', 'x', '{admin}')"
            )
            tx.queue._sql.execute(
                "insert into projects (id, created_by) values (%s, 'key-1')", (PROJECT,)
            )
        urls = {"database": database_url, "redis": redis_url, "archive": archive_url}
        yield House(
            database, client, blocking, Streams(client), archive, workspaces, folder, urls
        )  # fmt: skip


__all__ = ["GAP", "PROJECT", "House", "Wish", "collect", "eventually", "house", "suppress"]
