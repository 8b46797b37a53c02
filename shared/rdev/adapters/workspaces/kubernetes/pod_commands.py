"""The commands in all pods: which shell leads to those of a pod, kept open between two looks."""

import threading
import time
from dataclasses import dataclass
from functools import partial

from rdev.adapters.workspaces.kubernetes.exec import Execs
from rdev.adapters.workspaces.kubernetes.manifests import commands_folder, workspace_folder
from rdev.adapters.workspaces.kubernetes.pod_changes import PodChanges
from rdev.adapters.workspaces.kubernetes.pod_ref import PodRef
from rdev.adapters.workspaces.kubernetes.pod_shell import Place, PodShell
from rdev.adapters.workspaces.kubernetes.pod_workspace import PodWorkspace, poll
from rdev.adapters.workspaces.kubernetes.seen import Pod
from rdev.adapters.workspaces.kubernetes.view import View

_WITHOUT_ROOT = Place("/tmp/.rdev", ".")  # noqa: S108 - the pod's own; agent.sh looks whose it is
"""Of a pod that names no folder for rdev: commands run where its own processes do."""


@dataclass
class _Open:
    shell: PodShell
    changes: PodChanges


class PodCommands:
    """One a process. A shell that nobody used for `idle_s` is closed."""

    def __init__(self, execs: Execs, view: View, *, drain_s: float, idle_s: float = 120.0) -> None:
        self._execs = execs
        self._view = view
        self._drain_s = drain_s
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._open: dict[PodRef, _Open] = {}

    def of(self, project_id: str, pod: Pod) -> PodWorkspace:
        there = self._opened(pod)
        replaced = self._view.last_end(project_id)
        return PodWorkspace(pod, there.shell, there.changes, replaced.message if replaced else None)

    def close(self) -> None:
        """What runs in the pods goes on."""
        with self._lock:
            shells = [each.shell for each in self._open.values()]
            self._open.clear()
        for shell in shells:
            shell.close()
        self._execs.close()

    def _opened(self, pod: Pod) -> _Open:
        now = time.monotonic()
        with self._lock:
            there = self._open.get(pod.ref)
            if there is None:
                shell = PodShell(self._execs, pod.ref, _place(pod), drain_s=self._drain_s)
                there = self._open[pod.ref] = _Open(shell, PodChanges(partial(poll, shell)))
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
