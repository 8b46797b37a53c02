"""The short form of `make chaos`, and the proof that its checks bite: with one safeguard off each,
the same scenario must be caught."""

import pytest

from chaos.report import render
from chaos.run import run
from chaos.scenarios import (
    asleep_until_its_command_is_archived,
    asleep_with_a_requeue_in_hand,
    killed_right_after_the_start,
    paused_while_another_takes_over,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_nothing_is_lost_doubled_or_untrue_whatever_dies() -> None:
    outcome = run(commands=60, faults=20, seed=20261123)
    assert outcome.faults.total() >= 20
    assert outcome.verdict.good, render(outcome)


def test_a_command_whose_runner_dies_at_the_start_starts_once() -> None:
    assert killed_right_after_the_start().problems == {}


def test_without_start_tokens_it_is_caught_starting_twice() -> None:
    assert "started twice" in killed_right_after_the_start(unsafe="start_token").problems


def test_a_runner_that_wakes_up_late_changes_nothing() -> None:
    assert paused_while_another_takes_over().problems == {}


def test_without_the_compare_on_append_doubled_bytes_are_caught() -> None:
    problems = paused_while_another_takes_over(unsafe="append").problems
    assert {"a reader's bytes are wrong", "GET output is wrong"} <= problems.keys()


def test_a_runner_that_wakes_up_late_puts_nothing_back_into_the_queue() -> None:
    assert asleep_with_a_requeue_in_hand().problems == {}


def test_without_the_epoch_an_untrue_end_is_caught() -> None:
    problems = asleep_with_a_requeue_in_hand(unsafe="epoch").problems
    assert "ran, and the record says it did not" in problems


def test_a_runner_that_slept_through_the_archiving_leaves_no_stream_behind() -> None:
    verdict, left = asleep_until_its_command_is_archived()
    assert (verdict.problems, left) == ({}, [])
