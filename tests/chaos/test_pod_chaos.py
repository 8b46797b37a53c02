"""The short form of `make chaos CHAOS='--workspaces kubernetes'`, and the proof that its checks
bite."""

import pytest

from chaos.pod_scenarios import (
    killed_by_nobody_who_says_so,
    killed_right_after_the_start,
    killed_with_its_pod,
)
from chaos.pods import why_not
from chaos.report import render
from chaos.run import run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]


def test_in_pods_nothing_is_lost_doubled_or_untrue_but_what_a_fault_killed() -> None:
    outcome = run(commands=30, faults=15, seed=20261125, workspaces="kubernetes")
    assert outcome.faults.total() >= 15
    assert outcome.verdict.good, render(outcome)


def test_a_command_in_a_pod_whose_runner_dies_at_the_start_starts_once() -> None:
    assert killed_right_after_the_start().problems == {}


def test_without_start_tokens_it_is_caught_starting_twice_in_a_pod() -> None:
    assert "started twice" in killed_right_after_the_start(unsafe="start_token").problems


def test_a_command_killed_with_its_pod_is_lost_and_says_why() -> None:
    verdict, case = killed_with_its_pod("OOMKilled")
    assert (verdict.problems, verdict.truly_lost) == ({}, 1)
    assert "memory" in case.record["reason_message"]


def test_a_command_that_is_lost_although_no_fault_killed_it_is_caught() -> None:
    assert "lost" in killed_by_nobody_who_says_so().problems
