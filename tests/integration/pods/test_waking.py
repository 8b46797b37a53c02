"""Workspaces that stop when idle and are woken by commands."""

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from live_stack import wait_for
from pod_house import PROJECT, House
from rdev.domain.commands import Kind, Priority, Status
from rdev.domain.events import START
from rdev.domain.workspaces import State
from rdev.errors import Conflict, WorkspaceNotReady
from rdev.services.discovery import Discovery
from rdev.services.exec import Wish
from rdev.services.lifecycle import Lifecycle
from small_cluster import PODS, SETS, foreign_pod


def test_a_stopped_workspace_is_woken_by_the_next_command(stopped: House) -> None:
    first = stopped.submit("echo hi")
    (queued,) = stopped.streams.read(PROJECT, first.id, START)
    assert b'"workspace":{"state":"stopped"' in queued.data
    stopped.runner()
    assert stopped.ended(first).status is Status.SUCCEEDED
    assert not stopped.record().stopped
    assert stopped.audited("project.stopped") == stopped.audited("project.started") == 1


def test_that_a_workspace_ran_after_a_change_is_remembered_while_that_is_asked_for(
    house: House,
) -> None:
    """A runner lives for months, and sees any number of projects."""
    other, long_ago = f"{PROJECT}-2", datetime.now(UTC) - timedelta(hours=1)
    workspaces = house.cluster.workspaces
    for project, changed_at in ((PROJECT, long_ago), (other, datetime.now(UTC))):
        house.projects.create(house.by, project)
        house.cluster.await_state(project, State.RUNNING)
        wait_for(
            lambda p=project, at=changed_at: workspaces.wait_running(p, 1, changed_at=at).running
        )
        assert project in workspaces._ran_after
    assert list(workspaces._ran_after) == [other]


def test_many_commands_and_runners_wake_it_once(stopped: House) -> None:
    commands = [stopped.submit() for _ in range(20)]
    for _ in range(3):
        stopped.runner(own_view=True)
    assert {stopped.ended(command).status for command in commands} == {Status.SUCCEEDED}
    assert stopped.audited("project.started") == 1


def test_a_command_waits_in_the_queue_and_says_for_what(stopped: House) -> None:
    stopped.cluster.there.by_itself = False
    command = stopped.submit()
    stopped.runner()
    wait_for(lambda: stopped.get(command).waiting_for)
    stopped.cluster.there.by_itself = True
    stopped.cluster.await_state(PROJECT, State.RUNNING)
    assert stopped.ended(command).status is Status.SUCCEEDED
    assert stopped.get(command).waiting_for is None


def test_it_says_for_what_also_while_a_runner_looks_whether_its_workspace_runs(
    stopped: House,
) -> None:
    stopped.cluster.there.by_itself = False
    command = stopped.submit()
    stopped.runner()
    wait_for(lambda: stopped.get(command).waiting_for)
    looked_at = wait_for(
        lambda: (
            (it := stopped.get(command)).status is Status.RUNNING and it.started_at is None and it
        )
    )
    assert looked_at.waiting_for is not None
    stopped.cluster.there.by_itself = True
    ended = stopped.ended(command)
    assert ended.waiting_for is None
    told = [
        json.loads(each.data)["command"]
        for each in stopped.streams.read(PROJECT, command.id, START)
        if each.type in ("command.started", "command.finished")
    ]
    assert [each["waiting_for"] for each in told] == [None, None]


@pytest.mark.parametrize("by", ["1 hour", "-1 hour"])
def test_one_that_waits_goes_on_waiting_although_the_databases_clock_is_set(
    stopped: House, database_url: str, by: str
) -> None:
    def looks() -> int:
        with psycopg.connect(database_url) as sql:
            (waits,) = sql.execute("select waits from commands").fetchone() or (0,)
        return int(waits)

    stopped.cluster.there.by_itself = False
    command = stopped.submit()
    stopped.runner(workspace_s=600)
    wait_for(lambda: looks() >= 1)
    with psycopg.connect(
        database_url
    ) as sql:  # as if: the rows are older, or younger, than they were
        sql.execute(
            "update commands set waiting_since = waiting_since - %(by)s::interval, "
            "looked_at = looked_at - %(by)s::interval, queued_at = queued_at - %(by)s::interval",
            {"by": by},
        )
    seen = looks()
    wait_for(lambda: looks() >= seen + 3 or stopped.get(command).status.final)
    stopped.cluster.there.by_itself = True
    stopped.cluster.await_state(PROJECT, State.RUNNING)
    assert stopped.ended(command).status is Status.SUCCEEDED


def test_one_that_does_not_come_up_ends_the_wait_with_its_reason(house: House) -> None:
    house.projects.create(house.by, PROJECT)
    house.cluster.await_state(PROJECT, State.RUNNING)
    waiting = {"reason": "ErrImagePull", "message": "no such image"}
    container = {"name": "workspace", "state": {"waiting": waiting}}
    house.cluster.there.status("web-0", phase="Pending", containerStatuses=[container])
    house.cluster.await_state(PROJECT, State.FAILING)
    command = house.submit()
    house.runner(workspace_s=0.5)
    ended = house.ended(command)
    assert (ended.status, ended.reason) == (Status.FAILED, "workspace_not_ready")
    assert ended.started_at is None
    assert ended.reason_message == (
        "The workspace is failing: The image cannot be pulled: no such image"
    )


def test_a_command_waits_for_an_api_that_is_away(house: House) -> None:
    house.projects.create(house.by, PROJECT)
    house.cluster.await_state(PROJECT, State.RUNNING)
    house.cluster.there.away = True
    wait_for(lambda: house.cluster.workspaces.state(PROJECT).stale)
    command = house.submit()
    house.runner()
    wait_for(lambda: "does not answer" in (house.get(command).waiting_for or ""))
    house.cluster.there.away = False
    assert house.ended(command).status is Status.SUCCEEDED


def test_what_ran_in_a_workspace_that_is_gone_is_lost(house: House) -> None:
    house.projects.create(house.by, PROJECT)
    house.cluster.await_state(PROJECT, State.RUNNING)
    command = house.submit()
    with house.database.transaction() as tx:  # by a runner that died then
        claim = tx.queue.claim(Priority.NORMAL, runner="dead", lease_s=0.1, max_concurrent=5)
        assert claim is not None
        assert tx.queue.started(command.id, claim.command.epoch)
    house.cluster.workspaces.delete(PROJECT, lambda: None)
    house.cluster.await_state(PROJECT, State.MISSING)
    house.runner()
    ended = house.ended(command)
    assert (ended.status, ended.reason) == (Status.LOST, "workspace_lost")
    assert ended.reason_message == "No pod carries this project's label."


def test_a_waiting_command_can_be_cancelled(stopped: House) -> None:
    stopped.cluster.there.by_itself = False
    command = stopped.submit()
    stopped.runner()
    wait_for(lambda: stopped.get(command).waiting_for)
    stopped.exec.cancel(stopped.by, PROJECT, command.id)
    assert stopped.ended(command).status is Status.CANCELLED


def test_a_workspace_with_an_unfinished_command_is_not_stopped(house: House) -> None:
    house.projects.create(house.by, PROJECT)
    house.submit()
    with pytest.raises(Conflict, match="is queued"):
        house.lifecycle().stop(house.by, PROJECT)


def test_what_is_idle_for_long_enough_is_stopped_and_no_other(
    house: House, database_url: str
) -> None:
    house.projects.create(house.by, PROJECT)
    house.projects.create(house.by, "busy")
    house.cluster.there.put(PODS, foreign_pod("theirs-0", "theirs"))
    wait_for(lambda: len(house.cluster.workspaces.found()) == 1)
    Discovery(
        house.database.transaction, house.cluster.workspaces, now=lambda: datetime.now(UTC)
    ).adopt()
    house.exec.submit(house.by, "busy", Wish(Kind.SHELL, {"command": "true"}))
    with psycopg.connect(database_url) as sql:
        sql.execute("update projects set used_at = now() - interval '1 hour'")
    house.lifecycle(idle_stop_s=7200).stop_idle()
    assert not house.record().stopped
    house.lifecycle(idle_stop_s=600).stop_idle()
    assert house.record().stopped
    house.cluster.await_state(PROJECT, State.STOPPED)
    assert house.cluster.workspaces.state("busy").state is not State.STOPPED
    assert house.cluster.workspaces.state("theirs").running
    assert house.audited("project.stopped") == 1


def test_a_command_that_ended_not_long_ago_counts_as_use(house: House, database_url: str) -> None:
    house.projects.create(house.by, PROJECT)
    house.runner()
    house.ended(house.submit())
    with psycopg.connect(database_url) as sql:
        sql.execute("update projects set used_at = now() - interval '1 hour'")
    house.lifecycle(idle_stop_s=600).stop_idle()
    assert not house.record().stopped


def test_an_idle_stop_never_wins_against_a_command(house: House, tmp_path: Path) -> None:
    """Over and over at the same moment: a command that was claimed keeps its pod."""
    house.projects.create(house.by, PROJECT)
    house.cluster.await_state(PROJECT, State.RUNNING)
    lifecycle = house.lifecycle(idle_stop_s=0.001)
    over = threading.Event()

    def stop_over_and_over() -> None:
        while not over.wait(0.005):
            lifecycle.stop_idle()

    def watch_pods() -> None:
        """A command that runs has a pod, at any time."""
        while not over.wait(0.001):
            with house.cluster.there.changed:
                if (PODS, "web-0") not in house.cluster.there.objects and marks.exists():
                    bare.append(True)

    bare: list[bool] = []
    marks = tmp_path / "mark"
    threads = [threading.Thread(target=each) for each in (stop_over_and_over, watch_pods)]
    house.runner()
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            command = house.submit(f"echo > {marks}; sleep 0.05; rm {marks}")
            assert house.ended(command).status is Status.SUCCEEDED
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not bare
    assert house.audited("project.stopped") >= 1


def test_whoever_starts_a_command_waits_for_a_stop_that_was_decided_before(
    house: House, database_url: str
) -> None:
    house.projects.create(house.by, PROJECT)
    house.cluster.await_state(PROJECT, State.RUNNING)
    command = house.submit()
    started: list[Any] = []
    lifecycle = house.lifecycle()

    def start() -> None:
        """As a runner does: again while it is on its way."""
        while not started:
            with suppress(WorkspaceNotReady):
                started.append(lifecycle.ready(command))

    starter = threading.Thread(target=start)
    with house.database.transaction() as tx:
        tx.projects.lock(PROJECT)
        starter.start()
        with psycopg.connect(database_url, autocommit=True) as sql:
            waits = "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
            wait_for(lambda: started or sql.execute(waits).fetchone())
        assert not started
        tx.projects.set_stopped(PROJECT, stopped=True, settled=False)
    starter.join()
    assert not house.record().stopped
    assert house.audited("project.started") == 1


class Meanwhile:
    """The workspaces, with something that happens between an idle stop's look and its lock."""

    def __init__(self, house: House, act: Callable[[], object]) -> None:
        self._workspaces = house.cluster.workspaces
        self._act = act

    def __getattr__(self, name: str) -> Any:
        return getattr(self._workspaces, name)

    def check_ours(self, project_id: str) -> None:
        self._act()
        self._workspaces.check_ours(project_id)


def test_a_command_that_comes_while_an_idle_stop_makes_up_its_mind_wins(
    house: House, database_url: str
) -> None:
    house.projects.create(house.by, PROJECT)
    with psycopg.connect(database_url) as sql:
        sql.execute("update projects set used_at = now() - interval '1 hour'")
    workspaces: Any = Meanwhile(house, house.submit)
    Lifecycle(house.database.transaction, workspaces, idle_stop_s=1).stop_idle()
    assert not house.record().stopped
    assert house.cluster.there.get(SETS, PROJECT)["spec"]["replicas"] == 1


def test_a_stop_whose_process_died_is_seen_through_by_the_sweep(house: House) -> None:
    house.projects.create(house.by, PROJECT)
    house.cluster.await_state(PROJECT, State.RUNNING)
    with house.database.transaction() as tx:
        tx.projects.set_stopped(PROJECT, stopped=True, settled=False)
    house.lifecycle().settle()
    house.cluster.await_state(PROJECT, State.STOPPED)
    assert house.record().settled


def test_a_start_makes_a_stop_of_unknown_outcome_void(house: House) -> None:
    house.projects.create(house.by, PROJECT)
    house.cluster.await_state(PROJECT, State.RUNNING)
    before = house.cluster.there.get(SETS, PROJECT)["metadata"]["resourceVersion"]
    with house.database.transaction() as tx:
        tx.projects.set_stopped(PROJECT, stopped=True, settled=False)
    house.lifecycle().start(house.by, PROJECT)
    path = f"/apis/apps/v1/namespaces/projects/statefulsets/{PROJECT}/scale"
    late = {"metadata": {"resourceVersion": before}, "spec": {"replicas": 0}}
    with pytest.raises(Exception, match="Conflict"):
        house.cluster.api.patch(path, late)


def test_a_new_workspace_is_filled_before_other_commands_run_in_it(
    house: House, tmp_path: Path
) -> None:
    seen = house.projects.create(house.by, PROJECT, git_url="https://127.0.0.1:1/none.git")
    assert seen.setup is not None
    assert seen.setup.spec["args"] == [
        "clone",
        "--quiet",
        "--",
        "https://127.0.0.1:1/none.git",
        ".",
    ]
    assert seen.setup.priority is Priority.HIGH
    after = house.submit("ls")
    with house.database.transaction() as tx:  # as if other runners were at it
        claim = tx.queue.claim(Priority.HIGH, runner="slow", lease_s=1, max_concurrent=5)
    assert claim.command.id == seen.setup.id
    house.runner()
    wait_for(lambda: "filled" in (house.get(after).waiting_for or ""))
    assert house.ended(seen.setup).status is Status.FAILED
    assert house.ended(after).status is Status.SUCCEEDED
    assert house.projects.get(house.by, PROJECT).setup.reason == "exit_code"
