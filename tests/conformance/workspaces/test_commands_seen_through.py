"""A runner sees commands through to their true end, wherever they run."""

import hashlib
from collections.abc import Iterator
from contextlib import closing

import pytest

from conformance.workspaces.serving import Serving
from live_stack import wait_for
from rdev.domain.commands import Status


@pytest.fixture
def serving(target, project, database_url, redis_url) -> Iterator[Serving]:
    serving = Serving(target, project, database_url, redis_url)
    with closing(serving.stack):
        yield serving


STUBBORN = "trap '' TERM; echo on; while :; do sleep 0.1; done"


def test_a_command_is_ended_when_its_time_is_over(serving):
    with serving.runner():
        ended = serving.ended(serving.submit("echo on; sleep 1000", timeout_s=0.5))
    assert (ended.status, ended.reason, ended.signal) == (Status.TIMED_OUT, "timeout", "TERM")
    assert serving.streamed(ended) == b"on\n"
    assert serving.survivors(ended) == 0


def test_a_cancelled_command_ends_by_term(serving):
    ended = serving.cancelled("echo on; sleep 1000", once_it_said=b"on\n")
    assert (ended.status, ended.signal, ended.exit_code) == (Status.CANCELLED, "TERM", 143)
    assert serving.survivors(ended) == 0


def test_what_does_not_end_by_term_is_killed_with_all_it_left_behind(serving):
    ended = serving.cancelled(f'setsid sh -c "{STUBBORN}" & {STUBBORN}', once_it_said=b"on\non\n")
    assert (ended.status, ended.signal, ended.exit_code) == (Status.CANCELLED, "KILL", 137)
    assert serving.survivors(ended) == 0


@pytest.mark.parametrize("heeds", ["", "trap '' TERM; "])
def test_a_command_that_writes_too_much_is_ended_and_little_of_the_rest_is_kept(serving, heeds):
    with serving.runner():
        ended = serving.ended(
            serving.submit(f"{heeds}while :; do head -c 50000 /dev/zero; done", output_mb=1)
        )
    assert (ended.status, ended.reason) == (Status.FAILED, "output_limit")
    assert ended.truncated
    assert 1_000_000 <= ended.output.stdout < 1_600_000
    assert serving.streams.tail(serving.project, ended.id).position == ended.output
    assert ended.stdout_sha256 == hashlib.sha256(bytes(ended.output.stdout)).hexdigest()
    assert serving.survivors(ended) == 0


def test_what_one_runner_leaves_another_follows_to_its_end(serving):
    count, go = f"count-{serving.by.key.id}", f"go-{serving.by.key.id}"
    line = (
        f"echo x >>{count}; echo one; until [ -e {go} ]; do sleep 0.05; done; cat {count}; exit 3"
    )
    with serving.runner():
        command = serving.submit(line)
        wait_for(lambda: serving.streamed(command) == b"one\n")
    with serving.target.another() as workspaces:
        assert workspaces.wait_running(serving.project, 120).running
        with serving.runner(workspaces):
            assert serving.ended(serving.submit(f": >{go}")).status is Status.SUCCEEDED
            ended = serving.ended(command)
    assert (ended.status, ended.exit_code) == (Status.FAILED, 3)
    assert serving.streamed(ended) == b"one\nx\n"
    assert ended.output.stdout == 6
