"""When each step of a command was done, as its row tells it, whoever saw it through."""

import psycopg

from folder_house import ENOUGH_S, House, await_
from rdev.domain.commands import Status
from rdev.domain.timings import timings_of


def test_a_command_that_was_seen_through_knows_every_step(house: House) -> None:
    command = house.submit("sleep 0.3; echo out; sleep 0.3")
    house.start()
    ended = house.ended(command)
    steps = (
        ended.queued_at,
        ended.claimed_at,
        ended.started_at,
        ended.first_output_at,
        ended.ended_at,
        ended.finished_at,
    )
    assert all(steps)
    assert list(steps) == sorted(steps)
    assert ended.waiting_since is None
    assert ended.archived_at is None  # this house has no archive


def test_a_command_that_writes_nothing_has_no_first_output(house: House) -> None:
    command = house.submit("true")
    house.start()
    ended = house.ended(command)
    assert (ended.first_output_at, ended.ended_at is None) == (None, False)


def test_a_first_output_that_one_runner_saw_outlives_it(house: House) -> None:
    command = house.submit("echo out; sleep 2")
    first = house.start()
    await_(lambda: house.streams.tail(command.project_id, command.id).position.stdout)
    first.stop()
    assert first.handed_over.wait(ENOUGH_S)
    seen = house.get(command).first_output_at
    assert seen is not None
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.first_output_at) == (Status.SUCCEEDED, seen)


def test_a_first_output_that_a_dead_runner_saw_is_unknown(house: House) -> None:
    command = house.submit("echo out; sleep 1")
    first = house.start()
    await_(lambda: house.streams.tail(command.project_id, command.id).position.stdout)
    first.stop()
    assert first.handed_over.wait(ENOUGH_S)
    with psycopg.connect(
        house.database_url
    ) as sql:  # as if it had been killed before it wrote it down
        sql.execute("update commands set first_output_at = null where id = %s", (command.id,))
    house.start()
    ended = house.ended(command)
    assert (ended.status, ended.first_output_at) == (Status.SUCCEEDED, None)


def test_a_renewal_writes_down_the_first_output(house: House) -> None:
    command = house.submit("echo out; sleep 60")
    house.start()
    await_(lambda: house.get(command).first_output_at)
    assert house.get(command).status is Status.RUNNING
    house.exec.cancel(house.by, command.project_id, command.id)
    assert house.ended(command).status is Status.CANCELLED


def test_what_goes_back_into_the_queue_is_not_claimed_any_more(house: House) -> None:
    command = house.submit()
    claim = house.claim()
    assert house.get(command).claimed_at is not None
    with house.database.transaction() as tx:
        assert tx.queue.wait(command.id, claim.command.epoch, "It starts.", most_s=60) is not None
    waiting = house.get(command)
    assert waiting.claimed_at is None
    assert set(timings_of(waiting).values()) == {None}
    with house.database.transaction() as tx:
        tx.projects.hold(command.project_id, 0)
    house.start()
    timings = timings_of(house.ended(command))
    assert timings["workspace_ms"] is not None
    assert timings["queued_ms"] >= timings["workspace_ms"]


def test_what_went_back_for_another_reason_is_not_said_to_wait_for_its_workspace(
    house: House,
) -> None:
    command = house.submit()
    with house.database.transaction() as tx:
        tx.queue.wait(command.id, house.claim().command.epoch, "It starts.", most_s=60)
        tx.projects.hold(command.project_id, 0)
    assert house.get(command).waiting_for == "It starts."
    epoch = house.claim().command.epoch
    with house.database.transaction() as tx:
        assert tx.queue.requeue(command.id, epoch, delay_s=60) == 1
    assert house.get(command).waiting_for is None


def test_a_sweep_is_written_down_and_says_what_it_left(house: House) -> None:
    def last_sweep():
        with house.database.transaction() as tx:
            return tx.queue.last_sweep()

    assert last_sweep() is None
    house.start()
    swept = await_(last_sweep)
    assert (swept.late, swept.problem) == (False, "")
    assert swept.completed_s == swept.tried_s


def test_a_sweep_that_left_something_was_tried_and_not_completed(house: House) -> None:
    with house.database.transaction() as tx:
        tx.queue.note_sweep("Redis does not answer.")
    with house.database.transaction() as tx:
        first = tx.queue.last_sweep()
    assert (first.completed_s, first.late, first.problem) == (None, True, "Redis does not answer.")
    with house.database.transaction() as tx:
        tx.queue.note_sweep("")
    with house.database.transaction() as tx:
        tx.queue.note_sweep("It is full.")
    with house.database.transaction() as tx:
        later = tx.queue.last_sweep()
    assert later.completed_s > later.tried_s
    assert (later.late, later.problem) == (False, "It is full.")
