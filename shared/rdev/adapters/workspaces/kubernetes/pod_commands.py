"""The commands in all pods: which shell leads to those of a pod, kept open between two looks."""

import threading
import time
from collections.abc import Sequence
from functools import partial

from rdev.adapters.workspaces.kubernetes.exec import Execs
from rdev.adapters.workspaces.kubernetes.manifests import commands_folder, workspace_folder
from rdev.adapters.workspaces.kubernetes.pod_changes import PodChanges
from rdev.adapters.workspaces.kubernetes.pod_ref import PodRef
from rdev.adapters.workspaces.kubernetes.pod_shell import Place, PodShell
from rdev.adapters.workspaces.kubernetes.pod_workspace import Inside, PodWorkspace, poll
from rdev.adapters.workspaces.kubernetes.seen import Pod
from rdev.adapters.workspaces.kubernetes.view import View
from rdev.errors import WorkspaceNotReady, WorkspaceUnavailable, WorkspaceUnfit

_WITHOUT_ROOT = Place("/tmp/.rdev", ".")  # noqa: S108 - the pod's own; agent.sh looks whose it is
"""Of a pod that names no folder for rdev: commands run where its own processes do."""

_FILES_GONE = "The files of its commands are gone: its pod was replaced, or they were removed."
_ANEW = "Its container was started anew:"
_LAG_S = 5.0
"""So far the watched view may be behind what was met in a pod."""


class PodCommands:
    """One a process. A shell that nobody used for `idle_s` is closed."""

    def __init__(self, execs: Execs, view: View, *, drain_s: float, idle_s: float = 120.0) -> None:
        self._execs = execs
        self._view = view
        self._drain_s = drain_s
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._open: dict[PodRef, Inside] = {}

    def of(self, project_id: str, life: str | None) -> PodWorkspace:
        inside, why = partial(self._inside, project_id), partial(self._why, project_id)
        return PodWorkspace(inside, why, life)

    def close(self) -> None:
        """What runs in the pods goes on."""
        with self._lock:
            shells = [each.shell for each in self._open.values()]
            self._open.clear()
        for shell in shells:
            shell.close()
        self._execs.close()

    def _inside(self, project_id: str, life: str | None) -> Inside:
        running = [pod for pod in self._view.pods(project_id) if pod.running]
        if not running:
            raise WorkspaceNotReady(f"The pod of {project_id} does not run.")
        if life is None or len(running) == 1:
            return self._opened(running[0])
        return self._with_life(running, life)

    def _with_life(self, running: Sequence[Pod], life: str) -> Inside:
        """The first of these whose files have this life; the first, where certainly none has."""
        unasked: WorkspaceUnavailable | None = None
        for each in map(self._opened, running):
            try:
                if each.shell.there().life == life:
                    return each
            except WorkspaceUnfit:
                continue
            except WorkspaceUnavailable as exc:
                unasked = unasked or exc
        if unasked is not None:
            raise unasked
        return self._opened(running[0])

    def _why(self, project_id: str, then: str) -> str:
        """How a life of a pod ended that is known to be over."""
        uid, _, began = then.partition("/")
        if not uid:
            if last := self._view.last_end(project_id):
                return last.message
            befores = (pod.end_before for pod in self._view.pods(project_id))
            before = next(filter(None, befores), None)
            return f"{_FILES_GONE} {_ANEW} {before.message}" if before else _FILES_GONE
        told: list[str] = []

        def known() -> bool:
            if end := self._view.end_of(uid):
                told.append(end.message)
            for pod in self._view.pods(project_id):
                here = pod.ref.uid == uid and pod.ref.container_started != began
                if here and (end := pod.end or pod.end_before):
                    told.append(end.message)
            return bool(told)

        self._view.wait(known, _LAG_S)
        return next(iter(told), "Its pod was replaced, or its container started anew.")

    def _opened(self, pod: Pod) -> Inside:
        now = time.monotonic()
        with self._lock:
            there = self._open.get(pod.ref)
            if there is None:
                shell = PodShell(self._execs, pod.ref, _place(pod), drain_s=self._drain_s)
                changes = PodChanges(partial(poll, shell))
                there = self._open[pod.ref] = Inside(pod, shell, changes)
            there.shell.used_at = now
            idle = [ref for ref, it in self._open.items() if now - it.shell.used_at > self._idle_s]
            closing = [self._open.pop(ref).shell for ref in idle]
        for shell in closing:
            shell.close()
        return there


def _place(pod: Pod) -> Place:
    if pod.root is None:
        return _WITHOUT_ROOT
    return Place(commands_folder(pod.root), workspace_folder(pod.root))
