"""Errors of rdev's own, met by every runner at every try (`raise:` fail points): they end a
command that cannot be started, and cost one that runs neither its end nor its truth."""

import pytest

from chaos.cluster import RUNNERS, cluster
from chaos.load import Work
from chaos.scenarios import Scene

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_what_can_never_be_started_ends_and_has_not_run() -> None:
    points = dict.fromkeys(RUNNERS, "raise:start.before")
    with cluster(fail_points=points) as parts:
        scene = Scene(parts)
        case = scene.submit(Work(seed=1))
        scene.await_(lambda: scene.record(case).get("finished_at"))
        record = scene.record(case)
        assert (record["status"], record["reason"]) == ("failed", "infrastructure")
        assert "UnforeseenError" in record["reason_message"]
        assert (record["started_at"], record["exit_code"]) == (None, None)
        assert parts.counter.read_text() == ""
        assert parts.failures().count("start.before") == 5
        assert "did not run" in scene.verdict().problems


def test_one_whose_following_fails_keeps_its_own_end_and_all_its_output() -> None:
    points = dict.fromkeys(RUNNERS, "raise:append.before")
    with cluster(fail_points=points) as parts:
        scene = Scene(parts)
        case = scene.submit(Work(seed=2, stdout=30_000, stderr=700, seconds=1.0, exit_code=77))
        scene.await_(lambda: scene.record(case).get("finished_at"))
        assert scene.verdict().problems == {}
        assert (case.record["exit_code"], case.record["reason"]) == (77, "exit_code")


def test_one_whose_output_cannot_be_carried_runs_on_and_is_not_said_to_have_succeeded() -> None:
    points = dict.fromkeys(RUNNERS, "raise:append.before,raise:carry.before")
    with cluster(fail_points=points) as parts:
        scene = Scene(parts)
        case = scene.submit(Work(seed=3, stdout=30_000, seconds=8.0))
        scene.await_(lambda: parts.failures().count("append.before") >= 5)
        assert scene.record(case)["status"] == "running"
        # For whoever takes over: it has started, and since when.
        scene.await_(lambda: scene.record(case)["started_at"])
        assert scene.record(case)["finished_at"] is None
        scene.await_(lambda: scene.record(case).get("finished_at"))
        record = scene.record(case)
        assert (record["status"], record["reason"]) == ("failed", "infrastructure")
        assert (record["exit_code"], record["output"]["stdout_bytes"]) == (0, 0)
        assert "ended with 0" in record["reason_message"]
        problems = scene.verdict().problems
        assert "started twice" not in problems
        assert not {"process left", "row not ended", "command directory left"} & problems.keys()


def test_one_that_cannot_be_followed_is_cancelled_all_the_same() -> None:
    points = dict.fromkeys(RUNNERS, "raise:append.before")
    with cluster(fail_points=points) as parts:
        scene = Scene(parts)
        case = scene.submit(Work(seed=4, stdout=3000, ends="cancel"), cancel_after_s=6.0)
        scene.await_(lambda: scene.record(case).get("finished_at"))
        assert scene.verdict().problems == {}
        assert case.record["status"] == "cancelled"
