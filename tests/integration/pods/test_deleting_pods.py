"""Pods of projects that are deleted and made while something dies, or the API is away."""

import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from deleting_process import at_it
from live_stack import wait_for
from pod_house import PROJECT, House
from pod_service import Cluster
from rdev.domain.commands import Status
from rdev.domain.workspaces import Found, State
from rdev.errors import Conflict, NotFound, WorkspaceNotReady, WorkspaceUnavailable
from rdev.services.discovery import Discovery
from rdev.services.removal import Removal
from small_cluster import CLAIMS, NAMESPACE, PODS, SETS, foreign_pod

CLAIM = f"data-{PROJECT}-0"


def nothing() -> None:
    """What is meant has not changed."""


@pytest.fixture
def made(house: House) -> House:
    house.projects.create(house.by, PROJECT)
    house.cluster.await_state(PROJECT, State.RUNNING)
    return house


def left(house: House) -> list[str]:
    """The kinds of what is there of the project."""
    there = house.cluster.there
    with there.changed:
        return sorted(kind for kind, name in there.objects if PROJECT in name)


def dies_at(house: House, database_url: str, point: str, verb: str, **wish: Any) -> None:
    kubeconfig = house.cluster.kubeconfig
    settings = {
        "DATABASE_URL": database_url,
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "WORKSPACES": "kubernetes",
        "KUBECONFIG": str(kubeconfig),
        "KUBERNETES_NAMESPACES": NAMESPACE,
        "FAIL_POINTS": point,
    }
    with at_it(verb, PROJECT, kubeconfig.parent, settings, **wish) as process:
        assert process.wait(60) == -signal.SIGKILL


def sweep(house: House, database_url: str) -> None:
    """As a runner does some time later."""
    hour = timedelta(hours=1)
    with psycopg.connect(database_url) as sql:
        sql.execute("update projects set deleting_at = deleting_at - %s", (hour,))
        sql.execute("update workspaces_in_making set since = since - %s", (hour,))
    Removal(house.database.transaction, house.cluster.workspaces).sweep()


# --- deleting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["delete.begun", "delete.set", "delete.removed"])
@pytest.mark.parametrize("by", ["the next", "a sweep"])
def test_a_delete_whose_process_was_killed_is_seen_through(
    made: House, database_url: str, point: str, by: str
) -> None:
    made.cluster.there.collects = False
    dies_at(made, database_url, point, "delete")
    with pytest.raises(Conflict, match="being deleted"):
        made.submit()
    with pytest.raises(Conflict, match="being deleted"):
        made.lifecycle().stop(made.by, PROJECT)
    if by == "the next":
        made.projects.delete(made.by, PROJECT)
    else:
        sweep(made, database_url)
    assert made.record() is None
    assert (made.audited("project.delete_requested"), made.audited("project.deleted")) == (1, 1)
    made.cluster.there.collects = True
    wait_for(lambda: left(made) == [])


def test_a_delete_while_the_api_goes_away_is_done_once_it_is_back(
    made: House, database_url: str
) -> None:
    """Its set is deleted, its volume not yet."""
    there = made.cluster.there
    there.collects = False
    workspaces: Any = AwayAfter(made, asked=1)
    removal = Removal(made.database.transaction, workspaces)
    with made.database.transaction() as tx:
        tx.projects.set_deleting(PROJECT, made.by)
    with pytest.raises(WorkspaceUnavailable):
        removal.finish(made.record())
    assert left(made) == [CLAIMS, PODS]
    with pytest.raises(WorkspaceUnavailable, match="will be deleted"):
        made.projects.delete(made.by, PROJECT)
    assert made.projects.get(made.by, PROJECT).state.reason == "deleting"
    there.away = False

    def swept() -> bool:
        sweep(made, database_url)
        return made.record() is None

    wait_for(swept)
    there.collects = True
    wait_for(lambda: left(made) == [])
    assert made.audited("project.deleted") == 1


class AwayAfter:
    """The workspaces, whose API is away once it was asked so often whether that is still meant."""

    def __init__(self, house: House, *, asked: int) -> None:
        self._house = house
        self._left = asked
        self.alone = house.cluster.workspaces.alone

    def delete(self, project_id: str, still_meant: Callable[[], object]) -> None:
        def last_moment() -> None:
            still_meant()
            self._left -= 1
            self._house.cluster.there.away = self._left < 0

        self._house.cluster.workspaces.delete(project_id, last_moment)


@pytest.mark.parametrize("kind", [SETS, CLAIMS])
def test_what_may_not_be_deleted_is_not_taken_for_gone(
    made: House, database_url: str, kind: str
) -> None:
    made.cluster.there.keeps = kind
    made.cluster.there.collects = False
    with pytest.raises(WorkspaceUnavailable, match="will be deleted"):
        made.projects.delete(made.by, PROJECT)
    assert made.record() is not None
    made.cluster.there.keeps = None
    sweep(made, database_url)
    assert made.record() is None


def test_a_set_of_others_that_has_the_name_is_left_alone(house: House) -> None:
    """Somebody's StatefulSet whose pod carried the label for a while."""
    there = house.cluster.there
    there.by_itself = False
    spec = {"replicas": 1, "template": {}}
    there.put(SETS, {"metadata": {"name": PROJECT, "generation": 1}, "spec": spec})
    there.put(CLAIMS, {"metadata": {"name": CLAIM, "annotations": {"pod": "none"}}})
    there.put(PODS, foreign_pod(f"{PROJECT}-0", PROJECT))
    wait_for(lambda: house.projects.list(house.by, after=None, limit=10)[0])
    there.remove(PODS, f"{PROJECT}-0")
    house.cluster.await_state(PROJECT, State.MISSING)
    house.projects.delete(house.by, PROJECT)
    assert house.record() is None
    assert left(house) == [CLAIMS, SETS]


def test_a_delete_that_slept_leaves_what_was_made_since_alone(cluster: Cluster) -> None:
    """It had looked for the set, and made sure that it was still meant."""
    cluster.workspaces.create("web", git_url=None)
    cluster.await_state("web", State.RUNNING)
    slept: list[bool] = []

    def asleep_while_another_deletes_and_makes_it() -> None:
        if not slept:
            slept.append(True)
            cluster.workspaces.delete("web", nothing)
            wait_for(lambda: cluster.there.get(CLAIMS, "data-web-0") is None)
            cluster.workspaces.create("web", git_url=None)
            wait_for(lambda: cluster.there.get(CLAIMS, "data-web-0"))
            return
        raise NotFound("no longer meant")

    with pytest.raises(NotFound, match="no longer meant"):
        cluster.workspaces.delete("web", asleep_while_another_deletes_and_makes_it)
    assert cluster.there.get(SETS, "web") is not None
    cluster.await_state("web", State.RUNNING)


def test_a_project_made_again_at_once_gets_neither_the_pod_nor_the_volume_of_the_one_before(
    made: House,
) -> None:
    """Although the cluster takes its time to take them away."""
    there = made.cluster.there
    before = {kind: there.get(kind, name) for kind, name in ((PODS, "web-0"), (CLAIMS, CLAIM))}
    there.collects = False
    made.projects.delete(made.by, PROJECT)
    made.projects.create(made.by, PROJECT)
    wait_for(lambda: (found := made.cluster.view.set(PROJECT)) and found.settled)
    now = datetime.now(UTC)
    assert not made.cluster.workspaces.wait_running(PROJECT, 1, changed_at=now).running
    there.collects = True
    made.runner()
    assert made.ended(made.submit()).status is Status.SUCCEEDED
    for (kind, name), old in zip(((PODS, "web-0"), (CLAIMS, CLAIM)), before.values(), strict=True):
        assert there.get(kind, name)["metadata"]["uid"] != old["metadata"]["uid"]


def test_a_pod_whose_set_was_seen_to_go_is_not_used_for_a_set_not_seen_yet(made: House) -> None:
    made.cluster.there.collects = False
    made.projects.delete(made.by, PROJECT)
    wait_for(lambda: made.cluster.view.set(PROJECT) is None)
    assert made.cluster.view.pod(PROJECT) is not None
    with pytest.raises(WorkspaceNotReady):
        made.cluster.workspaces.wait_running(PROJECT, 1, changed_at=datetime.now(UTC))


# --- finding -------------------------------------------------------------------------------------


class Behind:
    """The workspaces, as a process sees them whose view is behind."""

    def __init__(self, house: House) -> None:
        self.is_there = house.cluster.workspaces.is_there

    def found(self) -> list[Found]:
        return [Found(PROJECT, ours=True)]


def test_what_was_deleted_is_not_found_by_whose_view_is_behind(made: House) -> None:
    workspaces: Any = Behind(made)
    discovery = Discovery(made.database.transaction, workspaces, now=lambda: datetime.now(UTC))
    made.projects.delete(made.by, PROJECT)
    discovery.adopt()
    assert made.record() is None
    made.cluster.workspaces.create(PROJECT, git_url=None)
    discovery.adopt()
    assert made.record() is not None


def test_what_goes_and_comes_again_is_found_again(house: House) -> None:
    there = house.cluster.there
    for _ in range(2):
        there.put(PODS, foreign_pod(f"{PROJECT}-0", PROJECT))
        wait_for(lambda: house.projects.list(house.by, after=None, limit=10)[0])
        there.remove(PODS, f"{PROJECT}-0")
        house.cluster.await_state(PROJECT, State.MISSING)
        house.projects.delete(house.by, PROJECT)
        assert house.projects.list(house.by, after=None, limit=10)[0] == []
    assert house.audited("project.discovered") == 2


def test_what_is_found_is_recorded_although_the_api_does_not_answer_for_all(house: House) -> None:
    class Busy:
        def found(self) -> list[Found]:
            return [Found(PROJECT, ours=False), Found("zebra", ours=False)]

        def is_there(self, project_id: str) -> bool:
            if project_id == "zebra":
                raise WorkspaceUnavailable("The Kubernetes API is busy and asked for patience.")
            return True

    workspaces: Any = Busy()
    discovery = Discovery(house.database.transaction, workspaces, now=lambda: datetime.now(UTC))
    with pytest.raises(WorkspaceUnavailable):
        discovery.adopt()
    assert house.record() is not None


# --- making --------------------------------------------------------------------------------------


def test_what_a_killed_create_left_is_no_project_and_goes(house: House, database_url: str) -> None:
    dies_at(house, database_url, "create.made", "create")
    workspaces: Any = Behind(house)
    discovery = Discovery(house.database.transaction, workspaces, now=lambda: datetime.now(UTC))
    discovery.adopt()
    assert house.record() is None
    sweep(house, database_url)
    wait_for(lambda: left(house) == [])
    house.cluster.workspaces.create(PROJECT, git_url=None)
    discovery.adopt()
    assert house.record() is not None


def test_the_next_create_has_its_own_template_and_not_that_of_one_that_was_killed(
    house: House, database_url: str
) -> None:
    house.cluster.template(one="image: debian", other="image: debian")
    dies_at(house, database_url, "create.made", "create", template="one")
    house.projects.create(house.by, PROJECT, template="other")
    made = house.cluster.there.get(SETS, PROJECT)
    assert made["metadata"]["annotations"]["rdev.dev/template"] == "other"
    assert house.record().template == "other"


def test_a_workspace_that_is_there_from_another_template_is_not_taken_over(house: House) -> None:
    """Of a database that was restored, say: nobody may throw it away unasked."""
    house.cluster.template(one="image: debian", other="image: debian")
    house.cluster.workspaces.create(PROJECT, git_url=None, template="one")
    with pytest.raises(Conflict, match="made from the template one"):
        house.projects.create(house.by, PROJECT, template="other")
    house.projects.create(house.by, PROJECT, template="one")
    assert house.record().template == "one"


def test_a_create_that_slept_makes_no_project_of_what_another_has_made(
    house: House, database_url: str
) -> None:
    made = house.cluster.workspaces.create
    slept: list[bool] = []

    def slowly(*place: Any, **wish: Any) -> None:
        made(*place, **wish)
        if not slept:
            slept.append(True)
            house.projects.create(house.by, PROJECT)

    workspaces: Any = house.cluster.workspaces
    workspaces.create = slowly
    with pytest.raises(Conflict, match="of that name already"):
        house.projects.create(house.by, PROJECT)
    assert house.audited("project.created") == 1
    sweep(house, database_url)
    house.cluster.await_state(PROJECT, State.RUNNING)


def test_a_create_that_slept_until_it_was_given_up_leaves_nothing(
    house: House, database_url: str
) -> None:
    made = house.cluster.workspaces.create

    def slowly(*place: Any, **wish: Any) -> None:
        sweep(house, database_url)
        made(*place, **wish)

    workspaces: Any = house.cluster.workspaces
    workspaces.create = slowly
    with pytest.raises(Conflict, match="of that name already"):
        house.projects.create(house.by, PROJECT)
    sweep(house, database_url)
    wait_for(lambda: left(house) == [])
