"""Workspaces as pods: all of them. What is asked of one is asked of the watched view; what is
changed is changed by the API."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from rdev.adapters.workspaces.kubernetes import manifests, names
from rdev.adapters.workspaces.kubernetes.api import Api, ApiRefused
from rdev.adapters.workspaces.kubernetes.seen import Set
from rdev.adapters.workspaces.kubernetes.templates import DEFAULT, Templates
from rdev.adapters.workspaces.kubernetes.view import View
from rdev.domain.projects import PROJECT_ID
from rdev.domain.workspaces import Found, State, WorkspaceState
from rdev.errors import Conflict, InvalidRequest, WorkspaceNotReady, WorkspaceUnavailable
from rdev.failpoints import reach
from rdev.ports import Workspace

_NOT_FOUND = 404
_EXISTS = 409
_INVALID = 422
_TRIES = 5
_BEING_MADE_S = 300.0
"""A set of ours that is younger is about to get its record from whoever makes it."""
_NOT_LONG_AGO = timedelta(minutes=5)
"""More than nobody asks about a change any more (`wait_running`)."""


class Commands(Protocol):
    """What knows how to run commands in a pod."""

    def of(self, project_id: str, life: str | None) -> Workspace: ...
    def close(self) -> None: ...


class KubernetesWorkspaces:
    """Port `rdev.ports.Workspaces`."""

    def __init__(self, api: Api, view: View, templates: Templates, commands: Commands) -> None:
        self._api = api
        self._view = view
        self._templates = templates
        self._commands = commands
        self._namespace = view.namespaces[0]
        self._ran_after: dict[str, datetime] = {}
        """The last change, of each project that was changed not long ago, after which its workspace
        was seen to run."""

    @property
    def stoppable(self) -> bool:
        return True

    @property
    def boot_id(self) -> None:
        """Each pod has its node's."""

    @property
    def clones(self) -> bool:
        return False

    def of(self, project_id: str, life: str | None = None) -> Workspace:
        pod = self._view.pod(project_id)
        if pod is None or not pod.running:
            raise WorkspaceNotReady(f"The pod of {project_id} does not run.")
        return self._commands.of(project_id, life)

    def enforceable(self) -> frozenset[str]:
        return frozenset({"output_mb"})

    # --- what is there ---------------------------------------------------------------------------

    def state(self, project_id: str) -> WorkspaceState:
        return self._view.state(project_id)

    def wait_running(
        self, project_id: str, timeout_s: float, *, changed_at: datetime | None = None
    ) -> WorkspaceState:
        self._view.wait(lambda: self._view.state(project_id).running, timeout_s)
        state = self._view.state(project_id)
        changed = changed_at is not None and self._ran_after.get(project_id) != changed_at
        if state.running and (changed or state.stale):
            self._look_anew(project_id)
            state = self._view.state(project_id)
            found = self._view.set(project_id)
            if state.running and found is not None and not found.settled:
                # Its controller may still be at a stop from before the start.
                return WorkspaceState(State.STARTING, observed_at=state.observed_at)
            if state.running and changed_at is not None:
                self._note_run(project_id, changed_at)
        return state

    def _note_run(self, project_id: str, changed_at: datetime) -> None:
        """And forget what nobody asks about any more. A new one each time, for other threads look
        at it; what one of them notes meanwhile may be lost, and is looked into once more."""
        lately = {
            each: at for each, at in self._ran_after.items() if abs(changed_at - at) < _NOT_LONG_AGO
        }
        self._ran_after = {**lately, project_id: changed_at}

    def found(self) -> Sequence[Found]:
        return [
            Found(project_id, ours)
            for project_id in self._view.projects()
            if (ours := self._stays(project_id)) is not None
        ]

    def is_there(self, project_id: str) -> bool:
        """The view may be behind. A pod of ours without its set is going."""
        asked = {"labelSelector": f"{names.PROJECT}={project_id}"}
        for namespace in self._view.namespaces:
            sets = self._api.get(names.sets_path(namespace), **asked)["items"]
            pods = self._api.get(names.pods_path(namespace), **asked)["items"]
            others = [each for each in pods if not _is_ours(each)]
            if any(not each["metadata"].get("deletionTimestamp") for each in [*sets, *others]):
                return True
        return False

    def check_ours(self, project_id: str) -> None:
        found, pod = self._view.set(project_id), self._view.pod(project_id)
        if found is None and pod is None:
            return
        if not (found.ours if found is not None else pod is not None and pod.ours):
            raise Conflict(
                f"The workspace of {project_id} was made by others: rdev only uses it. Whoever "
                f"made it can stop or delete it, or take the label {names.PROJECT} off."
            )

    # --- what is changed -------------------------------------------------------------------------

    def alone(self, project_id: str) -> AbstractContextManager[None]:  # noqa: ARG002 - the port's
        """Nobody can tell who died from who sleeps: who comes late finds other uids."""
        return nullcontext()

    def create(self, project_id: str, *, git_url: str | None, template: str | None = None) -> None:  # noqa: ARG002 - a command clones
        if not PROJECT_ID.fullmatch(project_id):
            raise InvalidRequest.field("project", "must be a DNS label")
        self._refuse_taken(project_id)
        made = manifests.stateful_set(
            project_id, self._templates.get(template), template_name=template or DEFAULT
        )
        try:
            raw = self._api.create(names.sets_path(self._namespace), made)
        except ApiRefused as exc:
            if exc.status == _INVALID:
                raise InvalidRequest.field("template", exc.said) from exc
            if exc.status != _EXISTS:
                raise
            raw = self._made_before(project_id, template or DEFAULT)
        self._view.put_set(self._namespace, raw)

    def delete(self, project_id: str, still_meant: Callable[[], object]) -> None:
        """Its pod is killed by the cluster, and its volume deleted then, both in its own time; but
        from now on they are not used for what is made anew under the name."""
        set_path = names.sets_path(self._namespace, names.set_name(project_id))
        self._delete(set_path, project_id, still_meant)
        reach("delete.set")
        # Not left to the cluster: until it comes to that, a new set would be given this volume.
        claim_path = names.claims_path(self._namespace, names.claim_name(project_id))
        self._delete(claim_path, project_id, still_meant)

    def undo(self, project_id: str, still_meant: Callable[[], object]) -> None:
        self.delete(project_id, still_meant)

    def stop(self, project_id: str, still_meant: Callable[[], object]) -> None:
        """Only as the set is now: whoever starts it after `still_meant` changes that, and then
        this does nothing, however late it arrives."""
        for _ in range(_TRIES):
            try:
                raw = self._read_set(project_id)
                still_meant()
                self._scale(project_id, 0, version=raw["metadata"]["resourceVersion"])
            except ApiRefused as exc:
                if exc.status == _NOT_FOUND:
                    return  # deleted by somebody: there is nothing to stop
                if exc.status != _EXISTS:
                    raise
                # Its controller wrote down how it is, meanwhile.
            else:
                return
        raise WorkspaceUnavailable(f"The StatefulSet of {project_id} does not keep still.")

    def start(
        self, project_id: str, still_meant: Callable[[], object], *, settled: bool = True
    ) -> None:
        if not settled:
            # So that the set changes, and a stop that is still on its way finds another one.
            self.stop(project_id, still_meant)
        try:
            self._read_set(project_id)
            still_meant()
            self._scale(project_id, 1)
        except ApiRefused as exc:
            if exc.status != _NOT_FOUND:  # others' pods, or deleted by somebody: its state says so
                raise

    def prune(self) -> int:
        """Start tokens lie in the pods; each goes with its own."""
        return 0

    def close(self) -> None:
        self._commands.close()
        self._view.close()
        self._api.close()

    def _made_before(self, project_id: str, template: str) -> dict[str, Any]:
        """The set that was there already."""
        raw = self._read_set(project_id)
        if raw["metadata"].get("deletionTimestamp"):
            raise WorkspaceUnavailable(f"The workspace {project_id} is still being removed.")
        made_from = (raw["metadata"].get("annotations") or {}).get(names.TEMPLATE)
        if made_from != template:
            raise Conflict(
                f"There is a workspace of that name already, made from the template {made_from}: "
                f"{project_id}. Ask for that one; or wait until it is found, and delete it."
            )
        return raw

    def _delete(self, path: str, project_id: str, still_meant: Callable[[], object]) -> None:
        """What is ours of this project, and no other object that gets its name meanwhile."""
        try:
            meta = self._api.get(path)["metadata"]
            if not manifests.labels(project_id).items() <= (meta.get("labels") or {}).items():
                return
            still_meant()
            only = {"preconditions": {"uid": meta["uid"]}, "propagationPolicy": "Background"}
            try:
                self._api.delete(path, only)
            except ApiRefused as exc:
                # Made anew, by somebody who knew that the one before was gone; or refused
                # otherwise, as by an admission webhook.
                if exc.status != _EXISTS or self._api.get(path)["metadata"]["uid"] == meta["uid"]:
                    raise
        except ApiRefused as exc:
            if exc.status != _NOT_FOUND:
                raise

    def _scale(self, project_id: str, replicas: int, *, version: str | None = None) -> None:
        path = names.scale_path(self._namespace, names.set_name(project_id))
        of_version = {"metadata": {"resourceVersion": version}} if version else {}
        self._api.patch(path, {**of_version, "spec": {"replicas": replicas}})

    def _read_set(self, project_id: str) -> dict[str, Any]:
        """Raises ApiRefused where it is not there, Conflict where it is others'."""
        raw = self._api.get(names.sets_path(self._namespace, names.set_name(project_id)))
        if not _is_ours(raw):
            raise Conflict(f"The StatefulSet of {project_id} was made by others.")
        return raw

    def _refuse_taken(self, project_id: str) -> None:
        found, pod = self._view.set(project_id), self._view.pod(project_id)
        if (found is not None and not found.ours) or (pod is not None and not pod.ours):
            raise Conflict(
                f"There is a workspace of that name already, made by others: {project_id}"
            )

    def _look_anew(self, project_id: str) -> None:
        """Ask the API for the set, then for the pod: a pod that lives after the controller has
        settled is one that no earlier stop takes away."""
        pod, found = self._view.pod(project_id), self._view.set(project_id)
        if pod is None:
            raise WorkspaceNotReady(f"The pod of {project_id} is being replaced.")
        try:
            if found is not None:
                raw = self._api.get(names.sets_path(found.namespace, found.name))
                self._view.put_set(found.namespace, raw)
            elif pod.ours and pod.set_uid is not None:
                # Its set went, and another one of that name may not be seen yet.
                self._view.put_set(self._namespace, self._read_set(project_id))
            raw = self._api.get(names.pods_path(pod.ref.namespace, pod.ref.name))
        except ApiRefused as exc:
            if exc.status == _NOT_FOUND:
                raise WorkspaceNotReady(f"The pod of {project_id} is being replaced.") from exc
            raise
        if raw["metadata"]["uid"] != pod.ref.uid:
            raise WorkspaceNotReady(f"The pod of {project_id} was replaced just now.")
        self._view.put_pod(pod.ref.namespace, raw)

    def _stays(self, project_id: str) -> bool | None:
        """Whether it is ours; None: it is being made or deleted, and not to be found."""
        found, pod = self._view.set(project_id), self._view.pod(project_id)
        if found is not None:
            return None if found.deleting or (found.ours and _young(found)) else found.ours
        if pod is None or pod.deleting or pod.ours:
            return None
        return False


def _is_ours(raw: dict[str, Any]) -> bool:
    return bool((raw["metadata"].get("labels") or {}).get(names.MANAGED_BY) == names.US)


def _young(found: Set) -> bool:
    try:
        made = datetime.fromisoformat(found.created_at)
    except ValueError:
        return False
    return datetime.now(UTC) - made < timedelta(seconds=_BEING_MADE_S)
