"""Projects deleted and made while something dies: nothing is lost, and nothing stays."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from command_ids import ONE
from deleting_process import at_it, running
from live_stack import wait_for
from rdev.adapters.postgres.database import Database
from rdev.adapters.redis.connect import connect, connect_blocking
from rdev.adapters.redis.streams import Streams
from rdev.adapters.redis.tickets import Tickets
from rdev.adapters.workspaces.local import LocalWorkspaces
from rdev.domain.callers import Caller
from rdev.domain.commands import Kind, Launch
from rdev.domain.workspaces import State
from rdev.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    StoreUnavailable,
    WorkspaceUnavailable,
)
from rdev.ports import Transaction, Transactions
from rdev.services.exec import Exec, Wish
from rdev.services.lifecycle import Lifecycle
from rdev.services.projects import Projects
from rdev.services.removal import Removal
from rdev.services.webhooks import EndpointWish, Webhooks

TRUE = Wish(Kind.SHELL, {"command": "true"})
OF_DELETING = ("delete.begun", "delete.aside", "delete.abolished", "delete.removed")


class House:
    """Projects in folders, as any number of processes have them."""

    def __init__(self, database: Database, urls: tuple[str, str], by: Caller, home: Path) -> None:
        self.database = database
        self.urls = urls
        self.by = by
        self.home = home
        self.workspaces = LocalWorkspaces(home / "workspaces", home / "commands", drain_s=0.1)
        self.projects = self.over(self.workspaces)
        self.removal = Removal(database.transaction, self.workspaces)
        # Somebody who wants to be told of it all.
        Webhooks(
            database.transaction,
            refusal=lambda *_: None,
            max_concurrent=1,
            now=lambda: datetime.now(UTC),
        ).create(by, EndpointWish(url="https://example.com/"))

    def over(self, workspaces: Any) -> Projects:
        return Projects(self.database.transaction, workspaces, now=lambda: datetime.now(UTC))

    @property
    def root(self) -> Path:
        return self.home / "workspaces/demo"

    def left(self) -> list[str]:
        """The names of all that lies where projects do."""
        places = (self.home / "workspaces", self.home / "commands")
        return sorted(each.name for place in places for each in place.glob("*"))

    def told(self) -> dict[str, int]:
        """How often each fact of projects was written down, and how often webhooks tell of it."""
        with psycopg.connect(self.urls[0]) as sql:
            rows = sql.execute(
                """
                select 'audit ' || (entry::json ->> 'action'), count(*) from audit_log
                where entry::json ->> 'project' = 'demo' group by 1
                union all select 'webhook ' || type, count(*) from webhook_events group by 1
                """
            )
            return dict(rows.fetchall())

    @property
    def settings(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.urls[0],
            "REDIS_URL": self.urls[1],
            "WORKSPACES_DIR": str(self.home / "workspaces"),
            "COMMANDS_DIR": str(self.home / "commands"),
        }

    def at_it(self, verb: str, fail_points: str = "", **wish: Any) -> Any:
        settings = {**self.settings, "FAIL_POINTS": fail_points}
        return at_it(verb, "demo", self.home, settings, **wish)

    def dies_at(self, point: str, verb: str, **wish: Any) -> None:
        with self.at_it(verb, point, **wish) as process:
            assert process.wait(60) == -signal.SIGKILL

    @contextmanager
    def asleep_at(self, point: str, verb: str, **wish: Any) -> Iterator[Callable[[], int]]:
        """A process that froze there; gives what wakes it and waits for its end."""
        with self.at_it(verb, f"stop:{point}", **wish) as process:

            def wake() -> int:
                process.send_signal(signal.SIGCONT)
                return process.wait(60)

            stat = Path(f"/proc/{process.pid}/stat")
            wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
            yield wake

    def sweep(self, after: timedelta = timedelta(hours=1)) -> None:
        """As a runner does some time later."""
        self.let_pass(after)
        self.removal.sweep()

    def let_pass(self, time: timedelta) -> None:
        with psycopg.connect(self.urls[0]) as sql:
            sql.execute("update projects set deleting_at = deleting_at - %s", (time,))
            sql.execute("update workspaces_in_making set since = since - %s", (time,))


@pytest.fixture
def house(
    database: Database, database_url: str, redis_url: str, admin: Caller, tmp_path: Path
) -> Iterator[House]:
    house = House(database, (database_url, redis_url), admin, tmp_path)
    yield house
    house.workspaces.close()


@pytest.fixture
def demo(house: House) -> House:
    """With a project in which a command has left a file, and something that runs."""
    house.projects.create(house.by, "demo")
    (house.root / "old").touch()
    return house


@pytest.fixture
def exec_(database: Database, redis_url: str) -> Iterator[Exec]:
    with connect(redis_url) as client, connect_blocking(redis_url, block_s=2) as blocking:
        yield exec_over(database.transaction, Tickets(client, blocking), Streams(client))


def exec_over(transaction: Transactions, tickets: Tickets, streams: Streams) -> Exec:
    return Exec(transaction, tickets, streams, default_timeout_s=60, queue_depth=100)


def cloned(tmp_path: Path) -> str:
    source = tmp_path / "source"
    git = ["git", "-C", str(source), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "init", "-q", str(source)], check=True)
    (source / "old").touch()
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    return f"file://{source}"


class Away(LocalWorkspaces):
    """Nothing can be removed for now."""

    away = True

    def delete(self, *args: Any) -> None:
        if self.away:
            raise WorkspaceUnavailable("The disk is away.")
        super().delete(*args)


# --- deleting ------------------------------------------------------------------------------------


def test_a_delete_that_could_not_be_done_is_done_by_the_next(demo: House) -> None:
    workspaces = Away(demo.home / "workspaces", demo.home / "commands", drain_s=0.1)
    projects = demo.over(workspaces)
    with pytest.raises(WorkspaceUnavailable, match=r"away\. The project will be deleted"):
        projects.delete(demo.by, "demo")
    assert projects.get(demo.by, "demo").state.reason == "deleting"
    workspaces.away = False
    projects.delete(demo.by, "demo")
    with pytest.raises(NotFound):
        projects.delete(demo.by, "demo")
    assert demo.left() == []
    workspaces.close()


def test_what_a_later_version_notes_beside_who_asked_breaks_nothing(demo: House) -> None:
    demo.dies_at("delete.begun", "delete")
    with psycopg.connect(demo.urls[0]) as sql:
        sql.execute("""update projects set deleting_by = deleting_by || '{"why": "tidy"}'""")
    assert demo.projects.get(demo.by, "demo").state.reason == "deleting"
    demo.sweep()
    assert demo.left() == []


@pytest.mark.parametrize("point", OF_DELETING)
@pytest.mark.parametrize("by", ["the next", "a sweep"])
def test_a_delete_whose_process_was_killed_is_seen_through(
    demo: House, exec_: Exec, point: str, by: str
) -> None:
    workspace = demo.workspaces.of("demo")
    workspace.start(Launch(ONE, "demo", ("sleep", "100"), {}, ".", b""))
    wait_for(lambda: workspace.ran_for_s(ONE) is not None)
    demo.dies_at(point, "delete")
    shown = demo.projects.get(demo.by, "demo").state
    assert (shown.state, shown.reason) == (State.STOPPING, "deleting")
    for refused in (
        lambda: exec_.submit(demo.by, "demo", TRUE),
        lambda: demo.projects.create(demo.by, "demo"),
        lambda: Lifecycle(demo.database.transaction, demo.workspaces).start(demo.by, "demo"),
    ):
        with pytest.raises(Conflict, match="is being deleted"):
            refused()
    assert "audit project.deleted" not in demo.told()
    if by == "the next":
        demo.projects.delete(demo.by, "demo")
    else:
        demo.sweep()
    with pytest.raises(NotFound):
        demo.projects.get(demo.by, "demo")
    assert demo.left() == []
    told = demo.told()
    assert told["audit project.delete_requested"] == 1
    assert told["audit project.deleted"] == told["webhook project.deleted"] == 1
    demo.projects.create(demo.by, "demo")
    assert not list(demo.root.iterdir())


def test_a_runner_sees_through_what_nobody_asks_for_again(demo: House) -> None:
    demo.dies_at("delete.aside", "delete")
    demo.let_pass(timedelta(hours=1))
    program = Path(__file__).parents[1] / "running_process.py"
    with running(program, demo.home, {**demo.settings, "SWEEP_S": "0.2"}):
        wait_for(lambda: "audit project.deleted" in demo.told())
        wait_for(lambda: demo.left() == [])


def test_the_audit_log_says_who_asked_first_whoever_saw_it_through(demo: House) -> None:
    demo.dies_at("delete.begun", "delete")
    demo.projects.delete(demo.by, "demo")
    with demo.database.transaction(reading=True) as tx:
        (row,) = tx.audit.list(before=None, limit=10, action="project.deleted")
    assert (row.entry.key_id, row.entry.key_name) == ("tests", "tests")


def test_a_sweep_leaves_a_delete_alone_that_was_asked_for_just_now(demo: House) -> None:
    demo.dies_at("delete.begun", "delete")
    demo.sweep(after=timedelta())
    assert demo.root.exists()


def test_two_that_delete_at_once_both_succeed_and_it_is_told_once(demo: House) -> None:
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(demo.projects.delete, demo.by, "demo") for _ in range(2)]:
            assert done.exception() is None or isinstance(done.exception(), NotFound)
    told = demo.told()
    assert told["audit project.deleted"] == told["webhook project.deleted"] == 1


def test_both_have_found_it_and_it_is_told_once(demo: House) -> None:
    import threading

    both = threading.Barrier(2)

    class Together(LocalWorkspaces):
        def check_ours(self, _project_id: str) -> None:
            both.wait(30)

    workspaces = Together(demo.home / "workspaces", demo.home / "commands", drain_s=0.1)
    projects = demo.over(workspaces)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: projects.delete(demo.by, "demo"), range(2)))
    told = demo.told()
    assert told["audit project.deleted"] == told["webhook project.deleted"] == 1
    workspaces.close()


def test_who_slept_before_the_delete_leaves_the_next_project_of_the_name_alone(
    demo: House,
) -> None:
    with demo.asleep_at("delete.begun", "delete") as wake:
        demo.projects.delete(demo.by, "demo")
        demo.projects.create(demo.by, "demo")
        (demo.root / "new").touch()
        assert wake() == 0
    assert [each.name for each in demo.root.iterdir()] == ["new"]
    assert demo.projects.get(demo.by, "demo").state.running
    assert demo.told()["audit project.deleted"] == 1


def test_while_somebody_is_at_a_workspace_nobody_else_is(demo: House) -> None:
    with demo.asleep_at("delete.aside", "delete") as wake:
        with pytest.raises(Conflict, match="just now"):
            demo.projects.delete(demo.by, "demo")
        assert ".old.demo" in "".join(map(str, (demo.home / "workspaces").iterdir()))
        assert wake() == 0
    assert demo.left() == []
    assert demo.told()["audit project.deleted"] == 1


def test_a_command_is_submitted_before_a_delete_or_refused_and_never_in_between(
    demo: House, database: Database, redis_url: str, database_url: str
) -> None:
    deleted: list[Future[None]] = []

    @contextmanager
    def with_a_delete_before_the_commit(*, reading: bool = False) -> Iterator[Transaction]:
        with database.transaction(reading=reading) as tx:
            yield tx
            if not deleted:
                deleted.append(pool.submit(demo.projects.delete, demo.by, "demo"))
                wait_for(lambda: deleted[0].done() or waits_for_a_lock(database_url))

    with (
        ThreadPoolExecutor(1) as pool,
        connect(redis_url) as client,
        connect_blocking(redis_url, block_s=2) as blocking,
    ):
        places = (Tickets(client, blocking), Streams(client))
        command = exec_over(with_a_delete_before_the_commit, *places).submit(demo.by, "demo", TRUE)
        refused = deleted[0].exception(60)
    assert isinstance(refused, Conflict)
    assert command.id in str(refused)
    assert demo.projects.get(demo.by, "demo").state.running


def waits_for_a_lock(database_url: str) -> bool:
    with psycopg.connect(database_url) as sql:
        row = sql.execute("select exists (select from pg_locks where not granted)").fetchone()
    return bool(row and row[0])


def test_a_project_whose_delete_was_interrupted_is_not_stopped_for_want_of_commands(
    demo: House,
) -> None:
    demo.dies_at("delete.begun", "delete")
    with psycopg.connect(demo.urls[0]) as sql:
        sql.execute("update projects set used_at = now() - interval '1 hour', settled = false")
    with demo.database.transaction() as tx:
        assert tx.projects.idle(for_s=1, limit=10) == []
        assert tx.projects.unsettled(10) == []


def test_one_that_cannot_be_removed_keeps_no_other_from_it(demo: House) -> None:
    demo.projects.create(demo.by, "stuck")
    for name in ("demo", "stuck"):
        workspaces = Away(demo.home / "workspaces", demo.home / "commands", drain_s=0.1)
        with pytest.raises(WorkspaceUnavailable):
            demo.over(workspaces).delete(demo.by, name)
        workspaces.close()

    class Stuck(LocalWorkspaces):
        def delete(self, project_id: str, *args: Any) -> None:
            if project_id == "stuck":
                raise WorkspaceUnavailable("It does not let go.")
            super().delete(project_id, *args)

    workspaces = Stuck(demo.home / "workspaces", demo.home / "commands", drain_s=0.1)
    demo.removal = Removal(demo.database.transaction, workspaces)
    demo.sweep()
    assert demo.left() == ["stuck", "stuck"]
    workspaces.close()


# --- making --------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["create.begun", "create.made"])
def test_what_a_killed_create_left_is_not_in_the_next_project(
    house: House, tmp_path: Path, point: str
) -> None:
    house.dies_at(point, "create", git_url=cloned(tmp_path))
    with pytest.raises(NotFound):
        house.projects.get(house.by, "demo")
    house.projects.create(house.by, "demo")
    assert not list(house.root.iterdir())
    assert house.told()["audit project.created"] == 1


@pytest.mark.parametrize("point", ["create.begun", "create.made"])
def test_what_a_killed_create_left_goes_if_nobody_tries_again(
    house: House, tmp_path: Path, point: str
) -> None:
    house.dies_at(point, "create", git_url=cloned(tmp_path))
    house.sweep(after=timedelta(minutes=5))
    assert house.root.exists() == (point == "create.made"), "somebody may be at it"
    house.sweep()
    assert house.left() == []
    with house.database.transaction(reading=True) as tx:
        assert tx.making.since("demo") is None


def test_half_a_clone_goes_too(house: House, tmp_path: Path) -> None:
    """Its process was killed while git was at it."""
    house.dies_at("create.begun", "create", git_url=cloned(tmp_path))
    half = house.root.with_name(".new.demo.0123abcd")
    (half / ".git").mkdir(parents=True)
    house.projects.create(house.by, "demo")
    assert not half.exists()


def test_a_folder_that_was_restored_is_taken_over_and_never_removed(
    house: House, tmp_path: Path
) -> None:
    house.root.mkdir(parents=True)
    (house.root / "restored").touch()
    house.dies_at("create.made", "create", git_url=cloned(tmp_path))
    house.sweep()
    with pytest.raises(InvalidRequest):
        house.projects.create(house.by, "demo", template="none")
    house.sweep()
    house.projects.create(house.by, "demo")
    assert [each.name for each in house.root.iterdir()] == ["restored"]


def test_a_create_that_was_refused_leaves_nothing_to_be_removed(house: House) -> None:
    with pytest.raises(InvalidRequest):
        house.projects.create(house.by, "demo", git_url="file:///no/such/folder")
    with house.database.transaction(reading=True) as tx:
        assert tx.making.since("demo") is None


def test_who_slept_while_making_a_workspace_keeps_others_from_it(
    house: House, tmp_path: Path
) -> None:
    with house.asleep_at("create.made", "create", git_url=cloned(tmp_path)) as wake:
        with pytest.raises(Conflict, match="just now"):
            house.projects.create(house.by, "demo")
        house.removal.sweep()
        assert wake() == 0
    assert (house.root / "old").exists()
    assert house.projects.get(house.by, "demo").state.running


def test_a_workspace_with_a_record_is_not_undone(demo: House) -> None:
    """Its maker was of the version before, which knows nothing of attempts."""
    with demo.database.transaction() as tx:
        tx.making.begin("demo")
    demo.sweep()
    assert (demo.root / "old").exists()
    with demo.database.transaction(reading=True) as tx:
        assert tx.making.since("demo") is None


def test_a_lock_that_nobody_holds_is_pruned(demo: House) -> None:
    lock = demo.home / "commands/.lock.gone"
    lock.touch()
    with demo.workspaces.alone("demo"):
        demo.workspaces.prune()
        assert (demo.home / "commands/.lock.demo").exists()
    assert not lock.exists()
    assert not (demo.home / "commands/.lock.demo").exists()


def test_a_folder_made_by_hand_after_a_create_that_broke_off_is_never_removed(
    house: House, tmp_path: Path
) -> None:
    source = cloned(tmp_path)
    house.dies_at("create.begun", "create", git_url=source)
    house.root.mkdir(parents=True)
    (house.root / "mine").touch()
    house.sweep()
    assert (house.root / "mine").exists()


def test_a_folder_made_by_hand_since_a_clone_failed_is_taken_over(
    house: House, tmp_path: Path
) -> None:
    workspaces = LocalWorkspaces(
        house.home / "workspaces",
        house.home / "commands",
        drain_s=0.1,
        git_protocols=("file",),
        clone_timeout_s=0.0,
    )
    with pytest.raises(WorkspaceUnavailable, match="took longer"):
        house.over(workspaces).create(house.by, "demo", git_url=cloned(tmp_path))
    workspaces.close()
    house.root.mkdir(parents=True)
    (house.root / "mine").touch()
    house.projects.create(house.by, "demo")
    assert [each.name for each in house.root.iterdir()] == ["mine"]


def test_what_a_create_left_whose_record_could_not_be_written_is_not_in_the_next_project(
    house: House, tmp_path: Path
) -> None:
    class StoreAway(Projects):
        def _record(self, *_: Any) -> Any:
            raise StoreUnavailable("Postgres is away.")

    workspaces = LocalWorkspaces(
        house.home / "workspaces", house.home / "commands", drain_s=0.1, git_protocols=("file",)
    )
    away = StoreAway(house.database.transaction, workspaces, now=lambda: datetime.now(UTC))
    with pytest.raises(StoreUnavailable):
        away.create(house.by, "demo", git_url=cloned(tmp_path))
    workspaces.prune()
    workspaces.close()
    house.projects.create(house.by, "demo")
    assert not list(house.root.iterdir())
    assert not list((house.home / "commands").glob(".lock.*"))


def test_a_project_is_deleted_where_no_more_files_can_be_made(
    database: Database, database_url: str, redis_url: str, admin: Caller, tmp_path: Path
) -> None:
    """Who deletes it wants to have room again."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "nr_inodes=40", "none", str(small)]
    if subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        house = House(database, (database_url, redis_url), admin, small)
        house.projects.create(admin, "demo")
        with suppress(OSError):
            for number in range(100):
                (house.root / str(number)).touch()
        assert os.statvfs(small).f_ffree == 0
        house.projects.delete(admin, "demo")
        assert house.left() == []
        house.workspaces.close()
    finally:
        subprocess.run(["umount", str(small)], check=True)
