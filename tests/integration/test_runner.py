"""The runner against the real stores and a real folder: what it does where something is amiss."""

import os
import shutil
import signal
import threading
import time
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from folder_house import BY, ENOUGH_S, PROJECT, House, await_
from rdev.adapters.postgres.database import Database
from rdev.adapters.workspaces import processes, start_token
from rdev.domain.commands import Command, Kind, Priority, Status, Stopping
from rdev.domain.events import FINISHED, START
from rdev.domain.projects import Project
from rdev.errors import StoreUnavailable
from rdev.ports import Liveness, metrics
from rdev.services.closing import Closing
from rdev.services.exec import Wish
from rdev.services.going_back import WAIT_AGAIN_S
from rdev.services.leases import Held, Leases, LeaveIt
from rdev.services.slots import Slots
from rdev.services.sweep import Sweep


def taken_over() -> float:
    """Of leases, in this process, as is told of them in metrics."""
    return dict(metrics.LEASES_TAKEN_OVER.read())[()]


def test_what_a_dead_runner_started_is_taken_up_and_starts_once(house: House) -> None:
    before = taken_over()
    command = house.submit("echo started >>../count; sleep 1; echo done; exit 3")
    claim = house.claim()
    house.workspace.start(_launch(claim, "echo started >>../count; sleep 1; echo done; exit 3"))
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.exit_code) == (Status.FAILED, 3)
    assert ended.started_at is not None
    assert taken_over() == before + 1
    assert (house.folder / "w" / "count").read_text() == "started\n"
    stream = house.streams.read(PROJECT, command.id, START)
    assert b"".join(entry.data for entry in stream if entry.stream) == b"done\n"


def test_a_drain_that_runs_out_of_time_hands_over_and_another_goes_on(house: House) -> None:
    command = house.submit("sleep 2; echo end")
    assert house.runner().drain(0.5)
    assert house.get(command).status is Status.RUNNING
    assert not house.runner().drain(ENOUGH_S)
    assert house.ended(command).status is Status.SUCCEEDED


def test_a_drain_works_off_the_whole_queue(house: House) -> None:
    commands = [house.submit() for _ in range(30)]
    assert not house.runner().drain(ENOUGH_S)
    assert {house.get(each).status for each in commands} == {Status.SUCCEEDED}


def test_what_has_waited_for_longer_than_it_may_does_not_start_although_no_sweep_came(
    house: House,
) -> None:
    """A runner that is woken after a long sleep looks for what to claim first."""
    command = house.submit("touch ../ran", queue_timeout_s=30.0)
    house.sql("update commands set queued_at = queued_at - interval '1 minute'")
    assert not house.runner().drain(ENOUGH_S)
    ended = house.get(command)
    assert (ended.status, ended.reason, ended.started_at) == (
        Status.FAILED,
        "queue_timeout",
        None,
    )
    assert not (house.folder / "w" / "ran").exists()
    assert house.streams.tail(PROJECT, command.id).finished


def test_one_look_is_for_all_that_are_to_be_looked_at_again(house: House) -> None:
    """They may have piled up by thousands while tickets kept the runner busy."""
    runner = house.runner()
    for _ in range(100):
        runner._look_again_in(-WAIT_AGAIN_S)
    runner._look_again_in(ENOUGH_S)
    runner._await_ticket(0.01)
    assert len(runner._look_again_at) == 1


def test_a_stopping_runner_leaves_what_runs_to_the_next_one_at_once(house: House) -> None:
    """Nobody is to be told of it: each new version, and each drain that is over, does so."""
    before = taken_over()
    command = house.submit("sleep 3; echo end")
    first = house.start()
    await_(lambda: house.get(command).started_at)
    first.stop()
    assert first.handed_over.wait(5)
    house.start()
    assert house.ended(command).status is Status.SUCCEEDED
    assert taken_over() == before


def audited(url: str, command: Command) -> list[tuple[str, str | None, str | None]]:
    """Of each row: action, outcome, and the reason of an end."""
    with psycopg.connect(url) as sql:
        return sql.execute(
            "select action, outcome, entry::jsonb #>> '{details,reason}' from audit_log "
            "where subject = %s order by seq",
            (command.id,),
        ).fetchall()


def test_what_goes_back_into_the_queue_is_in_the_audit_log(house: House, database_url: str) -> None:
    before = dict(metrics.WORKSPACE_FAILURES.read())["unavailable",]
    root = house.folder / "w" / PROJECT
    root.rename(root.with_name("away"))
    command = house.submit()
    house.start()
    await_(lambda: ("command.requeued", "queued", None) in audited(database_url, command))
    assert dict(metrics.WORKSPACE_FAILURES.read())["unavailable",] > before
    root.with_name("away").rename(root)
    assert house.ended(command).status is Status.SUCCEEDED


def test_a_command_cannot_start_any_more_once_it_is_said_to_have_failed(
    house: House, database_url: str
) -> None:
    root = house.folder / "w" / PROJECT
    shutil.rmtree(root)
    command = house.submit("touch ../ran")
    claim = house.claim()  # a runner that died: nobody knows what it has done
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.reason) == (Status.FAILED, "infrastructure")
    assert ended.reason_message == "the folder of demo is missing"
    assert audited(database_url, command)[-1] == ("command.finished", "failed", "infrastructure")
    assert ended.started_at is None
    root.mkdir()
    house.workspace.start(_launch(claim, "touch ../ran"))
    time.sleep(0.5)
    assert not (house.folder / "w" / "ran").exists()


def test_a_workspace_that_comes_back_gets_its_commands_after_all(house: House) -> None:
    root = house.folder / "w" / PROJECT
    shutil.rmtree(root)
    command = house.submit()
    house.start()
    await_(lambda: house.get(command).epoch >= 1)
    root.mkdir()
    assert house.ended(command).status is Status.SUCCEEDED


def test_one_that_was_put_back_is_cancelled_at_once_and_leaves_nothing(house: House) -> None:
    shutil.rmtree(house.folder / "w" / PROJECT)
    command = house.submit()
    house.start()
    await_(lambda: house.get(command).epoch >= 1 and house.get(command).status is Status.QUEUED)
    house.exec.cancel(BY, PROJECT, command.id)
    assert house.ended(command).status is Status.CANCELLED
    await_(lambda: house.streams.tail(PROJECT, command.id).finished)
    assert not (house.folder / "c" / PROJECT / command.id).exists()


def test_a_cancel_before_the_start_holds_although_its_runner_died_over_it(house: House) -> None:
    command = house.submit("touch ../ran")
    house.claim()
    house.exec.cancel(BY, PROJECT, command.id)
    assert house.workspace.forestall(command.id)
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.started_at) == (Status.CANCELLED, None)


def test_what_rdev_was_ending_keeps_its_reason_although_the_runner_died(house: House) -> None:
    command = house.submit("exec sleep 60")
    claim = house.claim()
    house.workspace.start(_launch(claim, "exec sleep 60"))
    await_(lambda: house.workspace.survivors(command.id))
    with house.database.transaction() as tx:
        why = Stopping(Status.TIMED_OUT, "timeout")
        assert tx.queue.stopping(command.id, claim.command.epoch, why)
    house.workspace.signal(command.id, "TERM")  # and then it died
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.reason, ended.exit_code) == (Status.TIMED_OUT, "timeout", 143)


def test_one_that_had_started_is_lost_with_its_workspace_and_not_started_again(
    house: House, database_url: str
) -> None:
    command = house.submit("echo started >>../count; sleep 60")
    first = house.start()
    await_(lambda: house.get(command).started_at)
    first.stop()
    first.handed_over.wait(ENOUGH_S)
    house.workspace.signal(command.id, "KILL")
    shutil.rmtree(house.folder / "c" / PROJECT)
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.reason) == (Status.LOST, "workspace_lost")
    assert audited(database_url, command)[-1] == ("command.finished", "lost", "workspace_lost")
    assert (house.folder / "w" / "count").read_text() == "started\n"


def test_a_stream_that_redis_lost_between_output_and_end_is_whole_again(house: House) -> None:
    command = house.submit("echo one; sleep 1; echo two")
    house.start()
    await_(lambda: house.streams.tail(PROJECT, command.id).position.stdout)
    house.client.flushall()
    ended = house.ended(command)
    await_(lambda: house.streams.tail(PROJECT, command.id).finished)
    stream = house.streams.read(PROJECT, command.id, START)
    assert [entry.type for entry in stream][:2] == ["command.queued", "command.started"]
    assert b"".join(entry.data for entry in stream if entry.stream) == b"one\ntwo\n"
    assert (stream[-1].type, ended.output.stdout) == (FINISHED, 8)


def test_one_whose_leader_was_killed_before_it_began_never_ran_and_is_not_lost(
    house: House,
) -> None:
    # Its first write to a file kills it: that of its name into the start token.
    house.refit(shell=("bash", "-c", 'ulimit -f 0; exec sh "$@"', "sh"))
    command = house.submit("touch ran")
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.reason) == (Status.FAILED, "infrastructure")
    assert (ended.exit_code, ended.started_at) == (None, None)
    assert not (house.folder / "w" / PROJECT / "ran").exists()


def test_a_lease_is_not_kept_for_a_worker_that_could_not_be_started(house: House) -> None:
    house.submit()
    leases, seen = Leases(), threading.Event()
    slots = Slots(
        1,
        leases,
        threading.Event(),
        claim=house.claim,
        see_through=lambda _held: seen.set(),
        let_go=lambda _id: None,
    )
    before = threading.stack_size(1 << 47)  # more than a process can address: no thread is had
    try:
        with pytest.raises(RuntimeError, match="thread"):
            slots.fill()
    finally:
        threading.stack_size(before)
    assert (leases.pairs(), slots.busy) == ([], 0)
    house.submit()
    slots.fill()
    assert seen.wait(ENOUGH_S)
    slots.wait_free(ENOUGH_S)
    assert (leases.pairs(), slots.busy) == ([], 0)


def test_a_claim_that_is_under_way_while_a_runner_stops_is_handed_over_too(house: House) -> None:
    command = house.submit()
    leases, stopping = Leases(), threading.Event()
    claiming, go_on = threading.Event(), threading.Event()

    def claim() -> Any:
        claiming.set()
        assert go_on.wait(ENOUGH_S)
        with house.database.transaction() as tx:
            return tx.queue.claim(Priority.NORMAL, runner="leaving", lease_s=200, max_concurrent=5)

    def leave(_held: Held) -> None:
        raise LeaveIt

    slots = Slots(2, leases, stopping, claim=claim, see_through=leave, let_go=lambda _id: None)
    filling = threading.Thread(target=slots.fill)
    filling.start()
    assert claiming.wait(ENOUGH_S)
    stopping.set()

    def hand_over() -> None:
        slots.wait_free(ENOUGH_S)
        leases.release(house.database.transaction)

    leaving = threading.Thread(target=hand_over)
    leaving.start()
    leaving.join(0.2)
    go_on.set()
    for thread in (filling, leaving):
        thread.join(ENOUGH_S)
    house.start()
    assert house.ended(command).status is Status.SUCCEEDED  # long before that lease is over


def test_nothing_is_claimed_any_more_once_a_runner_is_stopping() -> None:
    stopping, claims = threading.Event(), []
    stopping.set()
    slots = Slots(
        1,
        Leases(),
        stopping,
        claim=lambda: claims.append(1),
        see_through=lambda _held: None,
        let_go=lambda _id: None,
    )
    slots.fill()
    assert (claims, slots.busy) == ([], 0)


def test_what_was_given_back_is_not_renewed_by_a_renewal_that_comes_late(house: House) -> None:
    house.submit()
    leases = Leases()
    leases.hold(house.claim())
    leases.release(house.database.transaction)
    asked: list[object] = []
    leases.renew(lambda pairs: asked.append(pairs) or {})  # type: ignore[func-returns-value]
    assert asked == []


def test_a_renewal_that_is_under_way_is_over_before_leases_are_given_back(house: House) -> None:
    command = house.submit()
    leases = Leases()
    leases.hold(house.claim())
    renewing, go_on = threading.Event(), threading.Event()

    def slowly(pairs: Any) -> Any:
        renewing.set()
        assert go_on.wait(ENOUGH_S)
        with house.database.transaction() as tx:
            return tx.queue.renew(pairs, lease_s=200)

    late = threading.Thread(target=leases.renew, args=(slowly,))
    giving = threading.Thread(target=leases.release, args=(house.database.transaction,))
    late.start()
    assert renewing.wait(ENOUGH_S)
    giving.start()
    giving.join(0.2)
    go_on.set()
    for thread in (late, giving):
        thread.join(ENOUGH_S)
    house.start()
    assert house.ended(command).status is Status.SUCCEEDED


def test_one_that_nobody_saw_start_ends_although_its_workspace_went_meanwhile(
    house: House,
) -> None:
    house.refit(shell=("true",))  # a supervisor that dies at once
    command = house.submit("touch ran")
    house.start()
    folder = house.folder / "w" / PROJECT
    await_((house.folder / "c" / PROJECT / command.id).exists)
    folder.rename(folder.with_name("away"))
    ended = house.ended(command)
    assert (ended.status, ended.reason) == (Status.FAILED, "infrastructure")
    assert ended.started_at is None
    assert house.workspace.liveness(command.id) is Liveness.CANCELLED


def test_commands_of_a_workspace_that_does_not_answer_keep_no_others_waiting(house: House) -> None:
    with house.database.transaction() as tx:
        tx.projects.insert(Project("other", datetime.now(UTC)), BY.key.id)
    house.workspaces.create("other", git_url=None)
    house.start(slots=2, aside_s=0.5)
    held_up = [house.submit("until [ -e go ]; do sleep 0.05; done") for _ in range(2)]
    await_(lambda: all(house.get(each).started_at for each in held_up))
    folder = house.folder / "c" / PROJECT
    away = folder.rename(folder.with_name("away"))
    folder.touch()  # where its commands' files should be is something that has none
    others = [house.submit("echo hi", project="other") for _ in range(3)]
    assert {house.ended(each).status for each in others} == {Status.SUCCEEDED}
    assert {house.get(each).status for each in held_up} == {Status.RUNNING}
    folder.unlink()
    away.rename(folder)
    (house.folder / "w" / PROJECT / "go").touch()
    assert {house.ended(each).status for each in held_up} == {Status.SUCCEEDED}
    later = [house.submit("true") for _ in range(5)]
    assert {house.ended(each).status for each in later} == {Status.SUCCEEDED}


def test_what_a_killed_runner_left_half_prepared_goes_with_the_command(house: House) -> None:
    command = house.submit()
    half = house.folder / "c" / PROJECT / f".new.{command.id}.0123abcd"
    half.mkdir()
    (half / "launch").touch()
    house.start()
    house.ended(command)
    await_(lambda: [entry.name for entry in half.parent.iterdir()] == [".tokens"])


def test_a_refusal_is_recorded_with_its_sentence(house: House) -> None:
    house.start()
    lost = house.exec.submit(
        BY, PROJECT, Wish(Kind.SHELL, {"command": "ls", "cwd": "not/there\n\x7f"})
    )
    ended = house.ended(lost)
    assert (ended.status, ended.reason) == (Status.FAILED, "cwd_not_found")
    assert ended.reason_message == "not/there  : no such folder in this workspace"
    refused = house.ended(house.submit("true", env={"SECONDS": "1"}))
    assert refused.reason == "env_not_allowed"
    assert (refused.reason_message or "").startswith("env: 'SECONDS' cannot")


def test_a_refusal_that_a_command_makes_up_ends_it_all_the_same(house: House) -> None:
    place = '"$(dirname "$(readlink /proc/self/fd/2)")"'
    command = house.submit(f"printf 'made\\0up\\nx\\n' >{place}/refused; kill -9 $PPID $$")
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.reason) == (Status.FAILED, "infrastructure")


def test_a_queued_command_whose_ticket_was_lost_gets_another(house: House) -> None:
    command = house.submit()
    house.client.flushall()
    house.start()
    assert house.ended(command).status is Status.SUCCEEDED


def test_a_sweep_gives_what_waits_a_ticket_where_it_has_none_and_only_there(house: House) -> None:
    house.submit()
    low = house.submit(priority=Priority.LOW)
    house.client.flushall()
    house.tickets.offer(Priority.LOW, low.id)
    closing = Closing(house.database.transaction, house.streams, house.workspaces)
    places = (house.database.transaction, house.tickets, house.workspaces, closing)
    sweep = Sweep(*places, every_s=5)
    for _ in range(2):
        sweep.run()
    tickets = [house.client.xlen(f"rdev:{{queue}}:{each}") for each in ("high", "normal", "low")]
    assert tickets == [0, 1, 1]


def test_one_whose_processes_are_killed_by_others_is_lost_and_says_so(
    house: House, database_url: str
) -> None:
    command = house.submit("echo out; sleep 60")
    house.start()
    await_(lambda: house.streams.tail(PROJECT, command.id).position.stdout)
    token = start_token.read(
        house.folder / "c" / PROJECT / ".tokens" / command.id,
        house.folder / "c" / PROJECT / command.id,
    )
    assert token is not None
    supervisor = token.takers[0].supervisor.pid
    for pid in (supervisor, *processes.of_command(command.id, token.leader)):
        os.kill(pid, signal.SIGKILL)
    ended = house.ended(command)
    assert (ended.status, ended.reason) == (Status.LOST, "killed_outside")
    assert (ended.exit_code, ended.output.stdout) == (None, 4)
    assert ended.started_at is not None
    assert audited(database_url, command)[-1] == ("command.finished", "lost", "killed_outside")
    await_(lambda: house.streams.tail(PROJECT, command.id).finished)


def test_who_freezes_in_a_transaction_does_not_keep_its_rows_from_others(
    house: House, database_url: str
) -> None:
    command = house.submit()
    frozen = Database(database_url, pool_size=1, timeout_s=0.5)
    try:
        with pytest.raises(StoreUnavailable), frozen.transaction() as tx:  # noqa: PT012 - one deed
            tx.queue.claim(Priority.NORMAL, runner="frozen", lease_s=1, max_concurrent=5)
            house.start()
            assert house.ended(command).status is Status.SUCCEEDED
            tx.queue.depth()
    finally:
        frozen.close()


def test_a_lease_from_before_the_clock_was_set_back_is_taken_over(house: House) -> None:
    command = house.submit()
    assert house.claim()
    with house.database.transaction() as tx:
        assert tx.queue.renew([(command.id, 1)], lease_s=5 * 3600)
    house.start()
    assert house.ended(command).status is Status.SUCCEEDED


# That the database's clock was set back by an hour is the same as that its times lie an hour ahead.
AHEAD = "clock_timestamp() + interval '1 hour'"


def test_what_was_put_back_before_the_clock_was_set_back_runs_all_the_same(house: House) -> None:
    command = house.submit()
    house.sql(f"update commands set not_before = {AHEAD}")
    house.start()
    assert house.ended(command).status is Status.SUCCEEDED


def test_a_project_that_was_held_before_the_clock_was_set_back_is_served_all_the_same(
    house: House,
) -> None:
    command = house.submit()
    house.sql(f"update projects set claim_after = {AHEAD}")
    house.start()
    assert house.ended(command).status is Status.SUCCEEDED


def test_what_was_queued_before_the_clock_was_set_back_waits_no_longer_than_it_may(
    house: House,
) -> None:
    before_it = house.submit("sleep 60")
    assert house.claim().command.id == before_it.id  # and takes up the project's only place
    house.sql("update commands set lease_until = clock_timestamp() + interval '2 minutes'")
    house.sql("update projects set max_concurrent = 1")
    command = house.submit(queue_timeout_s=1.0)
    house.sql(f"update commands set queued_at = {AHEAD} where status = 'queued'")
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.reason) == (Status.FAILED, "queue_timeout")
    assert ended.finished_at is not None
    assert ended.finished_at > ended.queued_at


def test_what_ended_before_the_clock_was_set_back_is_seen_off(house: House) -> None:
    command = house.submit("echo hi")
    house.sql("update commands set status = 'failed', reason = 'infrastructure', "
              f"finished_at = {AHEAD}")  # fmt: skip
    house.start()
    await_(lambda: house.streams.tail(PROJECT, command.id).finished)


def test_a_command_is_not_timed_out_early_because_the_clock_was_set_forward(house: House) -> None:
    line = "sleep 2; echo end"
    command = house.submit(line, timeout_s=60)
    house.workspace.start(_launch(house.claim(), line))
    house.sql("update commands set started_at = clock_timestamp() - interval '1 hour'")
    house.start()
    assert house.ended(command).status is Status.SUCCEEDED


def test_a_command_is_timed_out_by_its_own_time_although_another_runner_began(
    house: House,
) -> None:
    command = house.submit("sleep 60", timeout_s=2)
    house.workspace.start(_launch(house.claim(), "sleep 60"))
    house.sql("update commands set started_at = clock_timestamp() + interval '1 hour'")
    await_(lambda: (house.workspace.ran_for_s(command.id) or 0.0) > 2)
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.reason) == (Status.TIMED_OUT, "timeout")


def test_one_whose_start_nobody_lived_to_record_has_no_more_time_than_it_may(
    house: House,
) -> None:
    command = house.submit("sleep 60", timeout_s=8)
    house.workspace.start(_launch(house.claim(), "sleep 60"))
    await_(lambda: (house.workspace.ran_for_s(command.id) or 0.0) > 8)
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.reason) == (Status.TIMED_OUT, "timeout")
    assert ended.finished_at is not None
    assert ended.started_at is not None
    # It was over already when it was taken up.
    assert (ended.finished_at - ended.started_at).total_seconds() < 8


def test_tickets_of_a_dead_taker_are_removed(house: House) -> None:
    house.tickets.take("nobody", 0.01)  # makes the groups
    house.tickets.offer(Priority.LOW, "cmd-x")
    key = "rdev:{queue}:low"
    house.client.xreadgroup("runners", "dead", {key: ">"})
    assert house.client.xpending(key, "runners")["pending"] == 1
    assert house.tickets.reclaim(idle_s=0)
    assert house.client.xpending(key, "runners")["pending"] == 0
    assert house.client.xlen(key) == 0
    assert not house.tickets.reclaim(idle_s=0)


def _launch(claim: Any, command: str) -> Any:
    from rdev.domain.commands import Launch

    return Launch(claim.command.id, PROJECT, ("sh", "-c", command))
