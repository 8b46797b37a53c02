"""How long each step of a command took, from the instants in its row."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rdev.domain.commands import Command, Kind, Priority, Status
from rdev.domain.records import record_of
from rdev.domain.timings import timings_of

BEGIN = datetime(2026, 11, 25, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


QUEUED = Command(
    "cmd-1", "demo", "key-1", Kind.SHELL, Status.QUEUED, Priority.NORMAL, {}, BEGIN, 60.0
)
WHOLE = replace(
    QUEUED,
    status=Status.SUCCEEDED,
    waiting_since=at(1),
    claimed_at=at(3),
    started_at=at(3.5),
    first_output_at=at(4),
    ended_at=at(6),
    finished_at=at(6.25),
    archived_at=at(7),
)


def test_the_steps_of_a_whole_command_add_up_to_its_time() -> None:
    assert timings_of(WHOLE) == {
        "queued_ms": 3000,
        "workspace_ms": 2000,
        "starting_ms": 500,
        "first_output_ms": 500,
        "running_ms": 2500,
        "closing_ms": 250,
        "archiving_ms": 750,
    }
    record = record_of(WHOLE)
    timings = record["timings"]
    assert timings["running_ms"] + timings["closing_ms"] == record["duration_ms"]


def test_what_is_not_over_is_null() -> None:
    assert set(timings_of(QUEUED).values()) == {None}
    running = timings_of(replace(QUEUED, status=Status.RUNNING, claimed_at=at(1), started_at=at(2)))
    assert {name for name, ms in running.items() if ms is not None} == {"queued_ms", "starting_ms"}


def test_what_waited_to_its_end_was_queued_all_the_time() -> None:
    timings = timings_of(replace(QUEUED, status=Status.CANCELLED, finished_at=at(9)))
    assert {name: ms for name, ms in timings.items() if ms is not None} == {"queued_ms": 9000}


def test_what_a_former_version_ran_has_no_times_that_it_did_not_write() -> None:
    ran = replace(QUEUED, status=Status.SUCCEEDED, started_at=at(1), finished_at=at(2))
    assert set(timings_of(ran).values()) == {None}


def test_a_clock_that_was_set_back_gives_no_negative_times() -> None:
    assert timings_of(replace(WHOLE, claimed_at=at(-5)))["queued_ms"] == 0
