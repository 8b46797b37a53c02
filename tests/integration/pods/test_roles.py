"""What each function may do in the cluster, and what it does; and what others made."""

import pytest
import yaml

from live_stack import wait_for
from pod_house import PROJECT, House
from rdev.config import SOURCE_ROOT
from rdev.domain.commands import Status
from rdev.domain.workspaces import State
from rdev.errors import Conflict
from small_cluster import CLAIMS, PODS, foreign_pod

WATCHED = {("watch", "pods"), ("watch", "statefulsets"), ("watch", "events")}


def allowed(role: str) -> set[tuple[str, str]]:
    documents = yaml.safe_load_all(
        (SOURCE_ROOT / "deploy/kubernetes/projects/rbac.yaml").read_text()
    )
    (rules,) = (
        each["rules"]
        for each in documents
        if each["kind"] == "Role" and each["metadata"]["name"] == role
    )
    return {
        (verb, resource)
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_each_role_has_the_verbs_that_its_function_uses_and_no_other(house: House) -> None:
    used = house.cluster.there.requests
    house.projects.list(house.by, after=None, limit=10)
    house.projects.create(house.by, PROJECT)
    house.cluster.await_state(PROJECT, State.RUNNING)
    house.lifecycle().stop(house.by, PROJECT)
    house.lifecycle().start(house.by, PROJECT)
    house.cluster.await_state(PROJECT, State.RUNNING)
    house.lifecycle().stop(house.by, PROJECT)
    house.cluster.await_state(PROJECT, State.STOPPED)
    wait_for(lambda: set(used) >= WATCHED)
    removes = {("get", "statefulsets"), ("get", CLAIMS), ("delete", "statefulsets")}
    removes |= {("delete", CLAIMS)}
    assert set(used) | removes == allowed("rdev-functions-projects")
    used.clear()
    house.runner(own_view=True)
    house.ended(house.submit())
    wait_for(lambda: set(used) >= WATCHED)
    into_pods = {("get", "pods/exec"), ("create", "pods/exec")}
    # Its sweep sees through what was to be removed.
    assert set(used) | into_pods | removes == allowed("rdev-functions-runner")
    used.clear()
    house.projects.delete(house.by, PROJECT)
    assert set(used) == removes


def test_a_labelled_pod_becomes_a_project_that_is_only_used(house: House) -> None:
    house.cluster.there.put(PODS, foreign_pod("web-0", PROJECT))
    wait_for(lambda: house.projects.list(house.by, after=None, limit=10)[0])
    assert house.audited("project.discovered") == 1
    house.runner()
    assert house.ended(house.submit()).status is Status.SUCCEEDED
    with pytest.raises(Conflict, match="made by others"):
        house.lifecycle().stop(house.by, PROJECT)
    with pytest.raises(Conflict, match="made by others"):
        house.projects.delete(house.by, PROJECT)
    house.cluster.there.remove(PODS, "web-0")
    house.cluster.await_state(PROJECT, State.MISSING)
    house.projects.delete(house.by, PROJECT)
    assert house.record() is None
