"""The watched view: which projects there are, in which pods, and how those are. Asks nobody once
it has listed: list and watch keep it (watched.py)."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rdev.adapters.workspaces.kubernetes import names
from rdev.adapters.workspaces.kubernetes.api import Api
from rdev.adapters.workspaces.kubernetes.reasons import DELETED, Problem, refused
from rdev.adapters.workspaces.kubernetes.seen import Pod, Set, pod_of, refusal_of, set_of
from rdev.adapters.workspaces.kubernetes.watched import Watched
from rdev.domain.workspaces import State, WorkspaceState
from rdev.errors import WorkspaceUnavailable

_STALE_S = 90.0
"""The API says something at least every 75 s where the connection is good."""
_REMEMBERED = 2000
_LABELLED = {"labelSelector": names.PROJECT}
_REFUSED = {
    "fieldSelector": "involvedObject.kind=StatefulSet,type=Warning,reason=FailedCreate",
}


class View:
    """Begins to watch at its first use, which waits for the first list; `close` ends it."""

    def __init__(self, api: Api, namespaces: Sequence[str], *, first_list_s: float = 10.0) -> None:
        self.namespaces = tuple(namespaces)
        self._first_list_s = first_list_s
        self._changed = threading.Condition()
        self._making = threading.Lock()
        self._ends: OrderedDict[str, tuple[str, Problem]] = OrderedDict()
        self._by_project: dict[str, tuple[Set | None, list[Pod]]] = {}
        self._outdated = True
        self._pods = [
            Watched(api, names.pods_path(each), _LABELLED, pod_of, self._pod_changed)
            for each in self.namespaces
        ]
        self._sets = [
            Watched(api, names.sets_path(each), _LABELLED, set_of, self._changed_otherwise)
            for each in self.namespaces
        ]
        self._refusals = [
            Watched(api, names.events_path(each), _REFUSED, refusal_of, self._changed_otherwise)
            for each in self.namespaces
        ]

    def projects(self) -> list[str]:
        return list(self._index())

    def set(self, project_id: str) -> Set | None:
        return self._of(project_id)[0]

    def pod(self, project_id: str) -> Pod | None:
        """The pod in which its commands run: one that runs before one that does not, one that
        stays before one that is going, ours before others', the newest of ours and the oldest of
        others'."""
        return next(iter(self.pods(project_id)), None)

    def pods(self, project_id: str) -> Sequence[Pod]:
        """All that carry its label, that one first."""
        return self._of(project_id)[1]

    def end_of(self, uid: str) -> Problem | None:
        """Why a pod that is there no more went; None: it is there, or was never seen."""
        with self._changed:
            return self._ends[uid][1] if uid in self._ends else None

    def last_end(self, project_id: str) -> Problem | None:
        """Why the last of a project's pods went; None: none did, or it was not seen."""
        with self._changed:
            ends = reversed(self._ends.values())
            return next((end for of, end in ends if of == project_id), None)

    def state(self, project_id: str) -> WorkspaceState:
        """Raises WorkspaceUnavailable where nothing was ever listed."""
        found, pods = self._of(project_id)
        state, problem = state_of(found, pods[0] if pods else None)
        if state is State.STARTING and not pods and found is not None:
            problem = self._refusal(found)
            state = State.FAILING if problem else state
        # In this order: once there is no trouble, the age is from after it.
        trouble, age_s = self.trouble, self.age_s
        return WorkspaceState(
            state,
            problem.reason if problem else None,
            problem.message if problem else None,
            observed_at=datetime.now(UTC) - timedelta(seconds=age_s),
            stale=age_s > _STALE_S or trouble is not None,
        )

    def _refusal(self, found: Set) -> Problem | None:
        """Why the cluster would not have its pod, the last time it was asked to."""
        told = [
            each
            for watched in self._refusals
            for each in watched.all()
            if (each.namespace, each.set_name) == (found.namespace, found.name)
        ]
        return refused(max(told, key=lambda each: each.at).message) if told else None

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Until a change makes it true, or the time is over."""
        until = time.monotonic() + timeout_s
        while not condition():
            left_s = until - time.monotonic()
            if left_s <= 0:
                return False
            with self._changed:
                # Looked at anew now and then: a change may have come between the two.
                self._changed.wait(min(left_s, 0.1))
        return True

    def put_pod(self, namespace: str, raw: dict[str, Any]) -> None:
        """Take in a pod that was read just now."""
        self._pods[self.namespaces.index(namespace)].put(raw)

    def put_set(self, namespace: str, raw: dict[str, Any]) -> None:
        self._sets[self.namespaces.index(namespace)].put(raw)

    @property
    def age_s(self) -> float:
        """How old the oldest of what is known may be."""
        return max(each.age_s for each in self._all)

    @property
    def trouble(self) -> str | None:
        """Why it is not up to date, where that is known."""
        return next((each.trouble for each in self._all if each.trouble), None)

    def close(self) -> None:
        for each in (*self._all, *self._refusals):
            each.close()

    @property
    def _all(self) -> Sequence[Watched[Any]]:
        """What has to be known. Refusals only tell more of it."""
        return (*self._pods, *self._sets)

    def _of(self, project_id: str) -> tuple[Set | None, list[Pod]]:
        return self._index().get(project_id, (None, []))

    def _index(self) -> dict[str, tuple[Set | None, list[Pod]]]:
        """By project. Made anew after a change, by whoever asks first."""
        self._await_lists()
        with self._making:
            if self._outdated:
                self._outdated = False  # first: what changes from here on makes it outdated again
                self._by_project = self._made()
            return self._by_project

    def _made(self) -> dict[str, tuple[Set | None, list[Pod]]]:
        made: dict[str, tuple[Set | None, list[Pod]]] = {}
        for found in (each for watched in self._sets for each in watched.all()):
            before, pods = made.get(found.project_id, (None, []))
            made[found.project_id] = (_preferred(before, found), pods)
        for pod in (each for watched in self._pods for each in watched.all()):
            of_set, pods = made.setdefault(pod.project_id, (None, []))
            if not _of_before(pod, of_set):
                pods.append(pod)
        for _, pods in made.values():
            # Stable: the last sort decides, those before it among equals.
            pods.sort(key=lambda pod: pod.created_at)
            pods.sort(key=lambda pod: pod.created_at if pod.ours else "", reverse=True)
            pods.sort(key=_rank)
        return made

    def _await_lists(self) -> None:
        for each in (*self._all, *self._refusals):
            each.begin()
        until = time.monotonic() + self._first_list_s
        for each in self._all:
            if not each.wait_listed(max(0.0, until - time.monotonic())):
                why = each.trouble or "it has not answered yet"
                raise WorkspaceUnavailable(f"The pods are not known yet: {why}")

    def _pod_changed(self, gone: Pod | None) -> None:
        with self._changed:
            if gone is not None:
                self._ends[gone.ref.uid] = (gone.project_id, gone.end or DELETED)
                while len(self._ends) > _REMEMBERED:
                    self._ends.popitem(last=False)
            self._outdated = True
            self._changed.notify_all()

    def _changed_otherwise(self, _gone: object) -> None:
        with self._changed:
            self._outdated = True
            self._changed.notify_all()


def _preferred(before: Set | None, found: Set) -> Set:
    return before if before is not None and before.ours and not found.ours else found


def _of_before(pod: Pod, found: Set | None) -> bool:
    """Whether it is of a project that was deleted, and has this name again since: the cluster is
    about to take it away."""
    if found is None or not (found.ours and pod.ours):
        return False
    return pod.set_uid not in (None, found.uid)


def _rank(pod: Pod) -> tuple[bool, bool, bool]:
    return (not pod.running, pod.deleting, not pod.ours)


def state_of(found: Set | None, pod: Pod | None) -> tuple[State, Problem | None]:
    """What a project's set and its pod make of it."""
    meant_to_run = found is None or found.replicas > 0
    if pod is None:
        if found is None:
            return State.MISSING, Problem("missing", "No pod carries this project's label.")
        return (State.STARTING, None) if meant_to_run else (State.STOPPED, None)
    if not meant_to_run:
        return State.STOPPING, None
    if pod.deleting:
        return State.STARTING, pod.end or Problem("replaced", "Its pod is going; another follows.")
    if pod.running:
        return State.RUNNING, None
    return (State.FAILING if pod.problem else State.STARTING), pod.problem
