"""The watched view: what it knows, how it keeps up, and that it says how old its knowledge is."""

import json
import threading
import time
from datetime import UTC, datetime

import pytest
from kubernetes.client import ApiClient, Configuration
from webhook_receiver import Talk, answer_of, receiver

from live_stack import wait_for
from pod_service import Cluster, NoCommands
from rdev.adapters.workspaces.kubernetes.api import Api
from rdev.adapters.workspaces.kubernetes.templates import Templates
from rdev.adapters.workspaces.kubernetes.view import View
from rdev.adapters.workspaces.kubernetes.watched import Watched
from rdev.adapters.workspaces.kubernetes.workspaces import KubernetesWorkspaces
from rdev.domain.workspaces import Found, State
from rdev.errors import WorkspaceUnavailable
from small_cluster import EVENTS, NAMESPACE, PODS, SETS, foreign_pod, running


def test_pods_that_others_labelled_are_found_and_their_changes_seen(cluster: Cluster) -> None:
    cluster.there.put(PODS, foreign_pod("web-0", "web"))
    assert cluster.workspaces.found() == [Found("web", ours=False)]
    assert cluster.workspaces.state("web").running
    cluster.there.put(PODS, foreign_pod("api-0", "api"))
    wait_for(lambda: len(cluster.workspaces.found()) == 2)
    cluster.there.remove(PODS, "web-0")
    assert cluster.await_state("web", State.MISSING).reason == "missing"


def test_asking_costs_no_request_once_it_has_listed(cluster: Cluster) -> None:
    for number in range(1000):
        cluster.there.put(PODS, foreign_pod(f"pod-{number}", f"project-{number}"))
    assert len(cluster.workspaces.found()) == 1000
    for watched in ("statefulsets", "pods", "events"):
        wait_for(lambda watched=watched: ("watch", watched) in cluster.there.requests)
    asked = len(cluster.there.requests)
    assert cluster.there.requests.count(("list", "pods")) == 2  # of 500 each
    for number in range(1000):
        assert cluster.workspaces.state(f"project-{number}").running
    assert len(cluster.there.requests) == asked


def test_a_place_that_the_api_forgot_is_listed_anew_and_nothing_is_missed(
    cluster: Cluster,
) -> None:
    cluster.there.put(PODS, foreign_pod("web-0", "web"))
    assert cluster.workspaces.state("web").running
    wait_for(lambda: ("watch", "pods") in cluster.there.requests)
    with cluster.there.changed:
        cluster.there.remove(PODS, "web-0")
        cluster.there.put(PODS, foreign_pod("api-0", "api"))
        cluster.there.version += 1
        cluster.there.forget()
    cluster.await_state("web", State.MISSING)
    assert cluster.workspaces.state("api").running
    assert cluster.there.requests.count(("list", "pods")) >= 2


def test_a_watch_that_broke_off_goes_on_where_it_was(cluster: Cluster) -> None:
    cluster.there.put(PODS, foreign_pod("web-0", "web"))
    assert cluster.workspaces.state("web").running
    wait_for(lambda: ("watch", "pods") in cluster.there.requests)
    cluster.there.hang_up()
    cluster.there.status("web-0", phase="Failed", reason="Evicted", message="The node was low.")
    state = cluster.await_state("web", State.FAILING)
    assert (state.reason, state.message) == (
        "evicted",
        "Its node evicted it: The node was low.",
    )
    assert cluster.there.requests.count(("list", "pods")) == 1


def test_while_the_api_is_away_the_last_that_is_known_is_told_as_stale(cluster: Cluster) -> None:
    cluster.there.put(PODS, foreign_pod("web-0", "web"))
    before = cluster.workspaces.state("web")
    assert not before.stale
    cluster.there.away = True
    stale = wait_for(lambda: state if (state := cluster.workspaces.state("web")).stale else None)
    assert stale.running
    cluster.there.away = False
    wait_for(lambda: not cluster.workspaces.state("web").stale)
    cluster.there.remove(PODS, "web-0")
    assert not cluster.await_state("web", State.MISSING).stale


def test_without_a_first_list_nothing_is_made_up(cluster: Cluster) -> None:
    cluster.there.away = True
    with pytest.raises(WorkspaceUnavailable, match="not known yet"):
        cluster.workspaces.state("web")
    cluster.there.away = False
    cluster.there.put(PODS, foreign_pod("web-0", "web"))

    def known() -> bool:
        try:
            return cluster.workspaces.state("web").running
        except WorkspaceUnavailable:
            return False

    wait_for(known)


def test_a_pod_that_went_is_remembered_with_its_reason(cluster: Cluster) -> None:
    pod = cluster.there.put(PODS, foreign_pod("web-0", "web"))
    assert cluster.workspaces.state("web").running
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }
    cluster.there.status("web-0", **running("app"), conditions=[condition])
    cluster.there.remove(PODS, "web-0")
    cluster.await_state("web", State.MISSING)
    end = cluster.view.end_of(pod["metadata"]["uid"])
    assert end is not None
    assert end.reason == "evicted"


def test_a_pod_that_the_cluster_will_not_have_tells_why(cluster: Cluster) -> None:
    cluster.there.by_itself = False
    cluster.workspaces.create("web", git_url=None)
    assert cluster.workspaces.state("web").state is State.STARTING
    about = {"kind": "StatefulSet", "name": "web", "namespace": NAMESPACE}
    event = {
        "metadata": {"name": "web.1"},
        "involvedObject": about,
        "reason": "FailedCreate",
        "message": "exceeded quota: pods=10",
    }
    cluster.there.put(EVENTS, event)
    state = cluster.await_state("web", State.FAILING)
    assert state.reason == "refused"
    assert state.message == "The cluster refuses its pod: exceeded quota: pods=10"
    cluster.there.by_itself = True
    assert cluster.await_state("web", State.RUNNING).message is None


def test_projects_are_found_in_all_namespaces_and_made_in_the_first(cluster: Cluster) -> None:
    view = View(cluster.api, (NAMESPACE, "more"))
    templates = Templates(cluster.api, NAMESPACE, "rdev-templates", image="debian")
    workspaces = KubernetesWorkspaces(cluster.api, view, templates, NoCommands())
    elsewhere = foreign_pod("db-0", "db")
    elsewhere["metadata"]["namespace"] = "more"
    cluster.there.put(PODS, elsewhere)
    cluster.there.put(PODS, foreign_pod("app-0", "app"))
    try:
        assert sorted(each.project_id for each in workspaces.found()) == ["app", "db"]
        assert workspaces.wait_running("db", 30, changed_at=datetime.now(UTC)).running
        workspaces.create("web", git_url=None)
        assert workspaces.wait_running("web", 30, changed_at=datetime.now(UTC)).running
        made = cluster.there.get(SETS, "web")
        assert made is not None
        assert made["metadata"]["namespace"] == NAMESPACE
    finally:
        view.close()


def test_of_several_pods_the_one_that_runs_and_stays_is_taken(cluster: Cluster) -> None:
    for name in ("web-a", "web-b", "web-c"):
        cluster.there.put(PODS, foreign_pod(name, "web"))
    going = foreign_pod("web-a", "web")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cluster.there.put(PODS, going)
    cluster.there.status("web-b", phase="Pending")
    pod = cluster.view.pod("web")
    assert pod is not None
    assert pod.ref.name == "web-c"


def test_an_api_that_forgets_every_place_at_once_is_not_asked_without_a_pause(
    cluster: Cluster,
) -> None:
    cluster.there.put(PODS, foreign_pod("web-0", "web"))
    cluster.there.forgotten = 1 << 60
    began = time.monotonic()
    assert cluster.workspaces.state("web").running
    wait_for(lambda: cluster.there.requests.count(("list", "pods")) >= 5)
    assert time.monotonic() - began > 0.5, "at least: the pauses add up"
    cluster.there.forgotten = 0
    wait_for(lambda: not cluster.workspaces.state("web").stale)


def test_an_api_that_ends_every_watch_at_once_is_not_asked_without_a_pause(
    cluster: Cluster,
) -> None:
    cluster.there.put(PODS, foreign_pod("web-0", "web"))
    cluster.there.brief = True
    began = time.monotonic()
    assert cluster.workspaces.state("web").running
    wait_for(lambda: cluster.there.requests.count(("watch", "pods")) >= 5)
    assert time.monotonic() - began > 0.5, "at least: the pauses add up"
    cluster.there.brief = False
    cluster.there.remove(PODS, "web-0")
    assert not cluster.await_state("web", State.MISSING).stale


def test_watches_that_work_and_are_cut_again_and_again_make_it_no_slower(
    cluster: Cluster,
) -> None:
    cluster.there.put(PODS, foreign_pod("web-0", "web"))
    assert cluster.workspaces.state("web").running
    until = time.monotonic() + 40  # pauses that grow take 50 s at least
    for number in range(12):
        watches = cluster.there.requests.count(("watch", "pods"))
        cluster.there.put(PODS, foreign_pod(f"pod-{number}", f"project-{number}"))
        wait_for(lambda number=number: cluster.view.pod(f"project-{number}"))
        cluster.there.hang_up()
        wait_for(
            lambda watches=watches: cluster.there.requests.count(("watch", "pods")) > watches,
            max(0.0, until - time.monotonic()),
        )


def test_a_pod_that_is_gone_does_not_come_back_by_a_late_answer(cluster: Cluster) -> None:
    put = cluster.there.put(PODS, foreign_pod("web-0", "web"))
    answer = json.loads(json.dumps(put))
    assert cluster.workspaces.state("web").running
    cluster.there.remove(PODS, "web-0")
    cluster.await_state("web", State.MISSING)
    cluster.view.put_pod(NAMESPACE, answer)
    assert cluster.workspaces.state("web").state is State.MISSING


def test_a_list_that_is_older_than_what_is_known_takes_nothing_back(cluster: Cluster) -> None:
    assert cluster.workspaces.found() == []
    lists = cluster.there.requests.count(("list", "pods"))
    young = foreign_pod("web-0", "web")
    newer = str(cluster.there.version + 10)
    young["metadata"] |= {"uid": "young", "namespace": NAMESPACE, "resourceVersion": newer}
    young["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    cluster.view.put_pod(NAMESPACE, young)
    with cluster.there.changed:
        cluster.there.version += 1
        cluster.there.forget()
    wait_for(lambda: cluster.there.requests.count(("list", "pods")) > lists)
    wait_for(lambda: not cluster.workspaces.state("web").stale)
    assert cluster.workspaces.state("web").running
    assert cluster.view.end_of("young") is None


def test_a_watch_that_is_closed_while_it_begins_ends(cluster: Cluster) -> None:
    cluster.there.put(PODS, foreign_pod("web-0", "web"))
    before = set(threading.enumerate())
    for number in range(10):
        view = View(cluster.api, (NAMESPACE,))
        assert view.projects() == ["web"]
        threading.Event().wait(number / 1000)  # somewhere on the way
        view.close()
    wait_for(
        lambda: (
            not [
                each
                for each in set(threading.enumerate()) - before
                if each.name.startswith("watch ")
            ]
        ),
        20,
    )


def test_a_watch_that_sends_no_line_without_end_is_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listed = json.dumps({"metadata": {"resourceVersion": "1"}, "items": []}).encode()

    def behave(talk: Talk) -> None:
        while (request := talk.request()) is not None:
            if "watch=1" not in request.line:
                talk.send(answer_of(200, {}, listed))
                continue
            talk.send(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                talk.send(b"x" * 65536)

    with receiver(behave) as server:
        configuration = Configuration()
        configuration.host = server.at(server.host, "")
        api = Api(lambda: ApiClient(configuration))
        watched = Watched(api, "/api/v1/pods", {}, lambda raw: raw, lambda _: None)
        try:
            assert watched.wait_listed(30)
            wait_for(lambda: len([each for each in server.requests if "watch=1" in each.line]) > 1)
        finally:
            watched.close()
            api.close()
    assert "a line without end" in caplog.text
