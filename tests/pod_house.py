"""The services over one database and a small cluster, as any number of processes have them.
The pods are the cluster's; commands run in a folder."""

import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from key_service import first_caller, key_service
from live_stack import wait_for
from pod_service import Cluster, cluster_in
from quick_runner import quick_rules
from rdev.adapters.postgres.database import Database
from rdev.adapters.redis.connect import connect, connect_blocking
from rdev.adapters.redis.streams import Streams
from rdev.adapters.redis.tickets import Tickets
from rdev.adapters.workspaces.local import LocalWorkspaces
from rdev.domain.commands import Command, Kind
from rdev.services.exec import Exec, Wish
from rdev.services.lifecycle import Lifecycle
from rdev.services.projects import Projects
from rdev.services.runner import Runner

PROJECT = "web"


class InFolders:
    """Runs a pod's commands in a folder."""

    def __init__(self, folders: LocalWorkspaces) -> None:
        self._folders = folders

    def of(self, project_id: str, life: str | None) -> Any:
        self._folders.create(project_id, git_url=None)
        return self._folders.of(project_id)

    def close(self) -> None:
        """They are shared."""


class House:
    """The services over one database, as any number of processes have them."""

    def __init__(self, database: Database, redis_url: str, folder: Path, stack: ExitStack) -> None:
        self.database = database
        self.by = first_caller(key_service(database, redis_url), database)
        self.client = stack.enter_context(connect(redis_url))
        self.blocking = stack.enter_context(connect_blocking(redis_url, block_s=2))
        self.tickets = Tickets(self.client, self.blocking)
        self.streams = Streams(self.client)
        self.folders = LocalWorkspaces(folder / "w", folder / "c", drain_s=0.1)
        stack.callback(self.folders.close)
        self.cluster: Cluster = stack.enter_context(cluster_in(folder, InFolders(self.folders)))
        self.exec = Exec(
            database.transaction,
            self.tickets,
            self.streams,
            default_timeout_s=60,
            queue_depth=500,
        )
        self.projects = Projects(
            database.transaction,
            self.cluster.workspaces,
            now=lambda: datetime.now(UTC),
            exec_=lambda: self.exec,
        )
        self.stack = stack

    def lifecycle(self, cluster: Cluster | None = None, idle_stop_s: float = 0) -> Lifecycle:
        workspaces = (cluster or self.cluster).workspaces
        return Lifecycle(
            self.database.transaction, workspaces, idle_stop_s=idle_stop_s, patience_s=0.2
        )

    def runner(self, *, workspace_s: float = 60, own_view: bool = False) -> Runner:
        cluster = self.cluster
        if own_view:
            cluster = self.stack.enter_context(cluster.seen_by_another(InFolders(self.folders)))
        rules = quick_rules(workspace_s=workspace_s, gone_s=0.5)
        lifecycle = self.lifecycle(cluster)
        places = (self.database.transaction, self.tickets, self.streams, cluster.workspaces)
        name = f"runner-{threading.active_count()}"
        runner = Runner(name, *places, rules, lifecycle=lifecycle, sweeps=(lifecycle.settle,))
        thread = threading.Thread(target=runner.run, daemon=True)
        thread.start()
        self.stack.callback(thread.join, 30)
        self.stack.callback(runner.stop)
        return runner

    def submit(self, command: str = "true") -> Command:
        return self.exec.submit(self.by, PROJECT, Wish(Kind.SHELL, {"command": command}))

    def get(self, command: Command) -> Command:
        return self.exec.get(self.by, PROJECT, command.id)

    def ended(self, command: Command) -> Command:
        wait_for(lambda: self.get(command).status.final)
        return self.get(command)

    def audited(self, action: str) -> int:
        with self.database.transaction(reading=True) as tx:
            return len(tx.audit.list(before=None, limit=1000, action=action))

    def record(self) -> Any:
        with self.database.transaction(reading=True) as tx:
            return tx.projects.get(PROJECT)
