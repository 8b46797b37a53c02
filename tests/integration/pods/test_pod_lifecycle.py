"""Workspaces made, stopped, started and deleted in a cluster."""

from datetime import UTC, datetime, timedelta

import pytest

from live_stack import wait_for
from pod_service import Cluster
from rdev.domain.workspaces import State
from rdev.errors import Conflict, InvalidRequest, WorkspaceUnavailable
from rdev.ports import metrics
from small_cluster import PODS, SETS, foreign_pod


def nothing() -> None:
    """What is meant has not changed."""


def test_a_workspace_is_made_stopped_started_and_deleted(cluster: Cluster) -> None:
    workspaces = cluster.workspaces
    workspaces.create("web", git_url=None)
    workspaces.create("web", git_url=None)
    cluster.await_state("web", State.RUNNING)
    workspaces.stop("web", nothing)
    cluster.await_state("web", State.STOPPED)
    assert cluster.there.get(SETS, "web") is not None
    workspaces.start("web", nothing)
    assert workspaces.wait_running("web", 60, changed_at=datetime.now(UTC)).running
    workspaces.delete("web", nothing)
    workspaces.delete("web", nothing)
    cluster.await_state("web", State.MISSING)


def test_what_others_made_is_only_used(cluster: Cluster) -> None:
    cluster.there.put(PODS, foreign_pod("theirs-0", "theirs"))
    with pytest.raises(Conflict, match="made by others"):
        cluster.workspaces.check_ours("theirs")
    with pytest.raises(Conflict, match="made by others"):
        cluster.workspaces.create("theirs", git_url=None)
    cluster.workspaces.start("theirs", nothing)
    cluster.workspaces.delete("theirs", nothing)
    assert cluster.there.get(PODS, "theirs-0") is not None


def test_a_stop_that_arrives_after_a_start_does_nothing(cluster: Cluster) -> None:
    """Its process froze between the last look and the call."""
    cluster.workspaces.create("web", git_url=None)
    cluster.await_state("web", State.RUNNING)

    def frozen_while_another_starts() -> None:
        if not started:
            started.append(True)
            cluster.workspaces.start("web", nothing, settled=False)
            return
        raise WorkspaceUnavailable("no longer meant")

    started: list[bool] = []
    with pytest.raises(WorkspaceUnavailable, match="no longer meant"):
        cluster.workspaces.stop("web", frozen_while_another_starts)
    assert cluster.there.get(SETS, "web")["spec"]["replicas"] == 1


def test_after_a_start_the_cluster_is_asked_until_it_was_seen_to_run(cluster: Cluster) -> None:
    def asked() -> int:
        return cluster.there.requests.count(("get", "pods"))

    cluster.workspaces.create("web", git_url=None)
    cluster.await_state("web", State.RUNNING)
    now = datetime.now(UTC)
    for changed_at in (now - timedelta(seconds=1), now):
        before = asked()
        assert cluster.workspaces.wait_running("web", 60, changed_at=changed_at).running
        seen = asked()
        assert seen > before
        assert cluster.workspaces.wait_running("web", 60, changed_at=changed_at).running
        assert asked() == seen


def test_a_pod_that_an_earlier_stop_is_about_to_take_is_not_taken_for_running(
    cluster: Cluster,
) -> None:
    cluster.workspaces.create("web", git_url=None)
    cluster.await_state("web", State.RUNNING)
    cluster.there.by_itself = False  # the controller hangs behind
    cluster.workspaces.stop("web", nothing)
    cluster.workspaces.start("web", nothing)
    assert (
        cluster.workspaces.wait_running("web", 0.5, changed_at=datetime.now(UTC)).state
        is State.STARTING
    )
    cluster.there.by_itself = True
    wait_for(
        lambda: cluster.workspaces.wait_running("web", 1, changed_at=datetime.now(UTC)).running
    )


def test_templates_are_named_and_their_mistakes_too(cluster: Cluster) -> None:
    with pytest.raises(InvalidRequest, match=r"node is not in .*: default"):
        cluster.workspaces.create("web", git_url=None, template="node")
    cluster.template(
        node='image: "node:22"\nresources: {memory: 4Gi}\nruntime_class: gvisor\n',
        broken="image: x\nresources:\n  memory: lots\ncpus: 3\n",
        torn="image: [",
    )
    cluster.workspaces.create("web", git_url=None, template="node")
    made = cluster.there.get(SETS, "web")
    pod = made["spec"]["template"]["spec"]
    assert made["metadata"]["annotations"]["rdev.dev/template"] == "node"
    assert pod["runtimeClassName"] == "gvisor"
    assert pod["containers"][0]["image"] == "node:22"
    with pytest.raises(InvalidRequest, match=r"broken: resources.memory: .*cpus: Extra"):
        cluster.workspaces.create("api", git_url=None, template="broken")
    with pytest.raises(InvalidRequest, match=r"torn: no valid YAML, line 1"):
        cluster.workspaces.create("api", git_url=None, template="torn")
    assert cluster.there.get(SETS, "api") is None


def test_the_breaker_opens_when_the_api_is_away_and_closes_when_it_is_back(
    cluster: Cluster,
) -> None:
    cluster.api.ping(1)
    assert told() == 0
    cluster.there.away = True
    for _ in range(3):
        with pytest.raises(WorkspaceUnavailable, match="does not answer"):
            cluster.api.get("/api/v1/namespaces/projects/pods")
    with pytest.raises(WorkspaceUnavailable, match="left alone") as refused:
        cluster.api.get("/api/v1/namespaces/projects/pods")
    assert refused.value.retry_after_s

    def told_while_open() -> bool:
        with pytest.raises(WorkspaceUnavailable):
            cluster.api.get("/api/v1/namespaces/projects/pods")
        return told() == 1

    wait_for(told_while_open)
    cluster.there.away = False

    def answers() -> bool:
        try:
            return bool(cluster.api.get("/api/v1/namespaces/projects/pods"))
        except WorkspaceUnavailable:
            return False

    wait_for(answers)
    assert told() == 0
    assert cluster.api.breaker == "closed"


def told() -> float:
    """What metrics say of the breaker of the API that was made last."""
    return dict(metrics.BREAKER_OPEN.read())["kubernetes",]


def test_an_api_that_asks_for_patience_is_left_alone(cluster: Cluster) -> None:
    cluster.there.busy_s = 30
    with pytest.raises(WorkspaceUnavailable, match="patience") as busy:
        cluster.api.get("/api/v1/namespaces/projects/pods")
    assert busy.value.retry_after_s == 30
    cluster.there.busy_s = 0
    asked = len(cluster.there.requests)
    with pytest.raises(WorkspaceUnavailable, match="patience"):
        cluster.api.get("/api/v1/namespaces/projects/pods")
    assert len(cluster.there.requests) == asked
