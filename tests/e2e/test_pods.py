"""A whole stack whose projects are pods of a small cluster: over HTTP, through the functions and
the runner, each with its own view."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from live_stack import Stack, running_stack, wait_for
from small_cluster import PODS, SmallCluster, foreign_pod
from small_cluster_server import small_cluster

pytestmark = pytest.mark.own_stack


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SmallCluster, Path]]:
    with small_cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture(scope="module")
def pods(there: tuple[SmallCluster, Path]) -> Iterator[Stack]:
    with running_stack(
        workspaces="kubernetes", kubeconfig=there[1], workspace_start_s=1
    ) as running:
        yield running


def test_a_project_is_made_stopped_and_woken_by_a_command(
    pods: Stack, there: tuple[SmallCluster, Path]
) -> None:
    api = pods.key("admin")
    made = api.post("/projects", {"id": "web"})
    assert made.status == 201
    assert made.data["workspace"] == "kubernetes"

    def state() -> str:
        return str(api.get("/projects/web").data["status"]["state"])

    wait_for(lambda: state() == "running")
    assert api.post("/projects/web/stop").status in (200, 202)
    wait_for(lambda: state() == "stopped")
    assert there[0].get(PODS, "web-0") is None
    api.post("/projects/web/shell", {"command": "true"})
    wait_for(lambda: there[0].get(PODS, "web-0"))
    wait_for(lambda: state() == "running")


def test_a_labelled_pod_is_listed_and_the_api_is_a_dependency(
    pods: Stack, there: tuple[SmallCluster, Path]
) -> None:
    api = pods.key("admin")
    there[0].put(PODS, foreign_pod("db-0", "db"))
    wait_for(lambda: "db" in [each["id"] for each in api.get("/projects").data])
    refused = api.post("/projects/db/stop")
    assert refused.status == 409
    assert "made by others" in refused.error["message"]
    kubernetes = api.get("/ready").data["checks"]["kubernetes"]
    assert kubernetes == {"status": "ok", "breaker": "closed"}
    there[0].away = True
    try:
        wait_for(lambda: api.get("/ready").data["checks"]["kubernetes"]["status"] != "ok")
        ready = api.get("/ready")
        assert ready.status == 503
        assert ready.data["checks"]["kubernetes"]["status"] == "unavailable"
        wait_for(lambda: api.get("/projects/db").data["status"]["stale"])
        refused = api.post("/projects", {"id": "another"})
        assert refused.status == 503
        assert int(refused.headers["Retry-After"]) > 0
    finally:
        there[0].away = False
    wait_for(lambda: not api.get("/projects/db").data["status"]["stale"])
