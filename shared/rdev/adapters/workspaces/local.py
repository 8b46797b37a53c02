"""Workspaces as folders on this machine: all of them. One, and what runs commands in it, is in
local_workspace.py, which is loaded when it is needed: to list projects it is not."""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rdev.adapters.workspaces import git_clone, launch_file, lock_file
from rdev.adapters.workspaces.asking import asking
from rdev.adapters.workspaces.folder_names import LOCK, PREPARING, REMOVING, TOKENS
from rdev.domain.git_arguments import PROTOCOLS
from rdev.domain.ids import COMMAND_ID
from rdev.domain.workspaces import ALWAYS_RUNNING, Found, State, WorkspaceState
from rdev.errors import Conflict, InvalidRequest
from rdev.failpoints import reach
from rdev.on_disk import put_names_on_disk

if TYPE_CHECKING:
    from datetime import datetime

    from rdev.adapters.workspaces.cgroups import Parents
    from rdev.adapters.workspaces.local_workspace import LocalWorkspace, Means

TOKEN_AGE_S = 7 * 86400.0

_PROJECT = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HALF_DONE_AGE_S = 3600.0
_ON_DISK_S = 5.0
_WAIT_S = 2.0
"""For whoever is making or removing the same workspace."""


class LocalWorkspaces:
    """All projects' folders. `close` it at the end; commands go on."""

    def __init__(
        self,
        workspaces_dir: Path,
        commands_dir: Path,
        *,
        drain_s: float,
        shell: Sequence[str] = ("/bin/sh",),
        path: str = launch_file.DEFAULT_PATH,
        use_inotify: bool = True,
        git_protocols: Sequence[str] = PROTOCOLS,
        clone_timeout_s: float = 300.0,
        find_cgroups: Callable[[], Parents] | None = None,
    ) -> None:
        """`path` is PATH as commands find it (their workspace's `~/.local/bin` is put before
        it) and where the supervisor finds its few programs. `find_cgroups`: where control groups
        can be had; as `cgroups.find` looks, unless told otherwise."""
        self._workspaces_dir = workspaces_dir.absolute()
        self._commands_dir = commands_dir.absolute()
        self._git_protocols = tuple(git_protocols)
        self._clone_timeout_s = clone_timeout_s
        self._shell = tuple(shell)
        self._path = path
        self._drain_s = drain_s
        self._use_inotify = use_inotify
        self._find_cgroups = find_cgroups
        self._made: Means | None = None
        self._making = threading.Lock()

    @property
    def _means(self) -> Means:
        from rdev.adapters.workspaces.local_workspace import Means

        with self._making:
            if self._made is None:
                self._made = Means.make(
                    shell=self._shell,
                    path=self._path,
                    drain_s=self._drain_s,
                    use_inotify=self._use_inotify,
                    find_cgroups=self._find_cgroups,
                )
            return self._made

    def of(self, project_id: str, life: str | None = None) -> LocalWorkspace:  # noqa: ARG002 - the port's
        from rdev.adapters.workspaces.local_workspace import LocalWorkspace

        root, commands = self._folders(project_id)
        return LocalWorkspace(project_id, root, commands, self._means)

    def enforceable(self) -> frozenset[str]:
        with asking("cannot look for control groups"):
            return frozenset({"output_mb"}) | self._means.cgroups().limits

    @property
    def stoppable(self) -> bool:
        """A folder is there or not: it always runs."""
        return False

    @property
    def boot_id(self) -> str | None:
        return self._means.boot or None

    @property
    def clones(self) -> bool:
        return True

    @contextmanager
    def alone(self, project_id: str) -> Iterator[None]:
        lock = self._lock(project_id)
        with ExitStack() as stack:
            with asking(f"cannot lock the workspace {project_id}"):
                self._commands_dir.mkdir(parents=True, exist_ok=True)
                ours = stack.enter_context(lock_file.held(lock, wait_s=_WAIT_S))
            if not ours:
                raise Conflict(f"This workspace is being made or removed just now: {project_id}")
            yield

    def create(self, project_id: str, *, git_url: str | None, template: str | None = None) -> None:
        """Make the folder, empty or as a clone. There already: it stays as it is."""
        if template is not None:
            raise InvalidRequest.field("template", "folders are made from no template")
        root, commands = self._folders(project_id)
        with asking(f"cannot make the workspace {project_id}"):
            (commands / TOKENS).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._workspaces_dir.mkdir(parents=True, exist_ok=True)
            if not root.exists():
                if git_url is None:
                    lock_file.note(self._lock(project_id), b"made")
                    root.mkdir(exist_ok=True)
                else:
                    self._clone(git_url, root, self._lock(project_id))
        # As its record will be, also after a power cut.
        put_names_on_disk(self._workspaces_dir, limit_s=_ON_DISK_S, path=launch_file.DEFAULT_PATH)

    def delete(self, project_id: str, still_meant: Callable[[], object]) -> None:
        """The folder goes first, so that nothing can start in it any more. Within `alone`, where
        nobody makes another one after `still_meant`."""
        root, commands = self._folders(project_id)
        still_meant()
        with asking(f"cannot delete the workspace {project_id}"):
            _put_aside(root)
            reach("delete.aside")
            if commands.exists():
                workspace = self.of(project_id)
                for folder in commands.iterdir():
                    if COMMAND_ID.fullmatch(folder.name):
                        workspace.abolish(folder.name)
            reach("delete.abolished")
            _put_aside(commands)
            # Also what others who died have put aside, or were about to make.
            for old in _aside(commands):
                # What began after that look has found no folder to run in. Its feeder may be left.
                _end_feeders(old)
                _remove(old)
            for old in _aside(root):
                _remove(old)
        # It must not come back by a power cut, for its record will not.
        for parent in (self._commands_dir, self._workspaces_dir):
            if parent.exists():
                put_names_on_disk(parent, limit_s=_ON_DISK_S, path=launch_file.DEFAULT_PATH)

    def undo(self, project_id: str, still_meant: Callable[[], object]) -> None:
        """A folder stays that is there although nobody was about to make it when he died: somebody
        made it by hand."""
        root, _ = self._folders(project_id)
        with asking(f"cannot look for the workspace {project_id}"):
            mine = not root.exists() or lock_file.noted(self._lock(project_id))
        if mine:
            self.delete(project_id, still_meant)
        with asking(f"cannot lock the workspace {project_id}"):
            lock_file.note(self._lock(project_id), b"")

    def check_ours(self, project_id: str) -> None:
        """All folders are."""

    def stop(self, project_id: str, still_meant: Callable[[], object]) -> None:  # noqa: ARG002 - the port's
        raise Conflict("A folder cannot be stopped.")

    def start(
        self, project_id: str, still_meant: Callable[[], object], *, settled: bool = True
    ) -> None:
        """It runs already."""

    def state(self, project_id: str) -> WorkspaceState:
        # At each GET of a project, and Path takes longer than the question.
        if os.path.isdir(f"{self._workspaces_dir}/{self._named(project_id)}"):  # noqa: PTH112
            return ALWAYS_RUNNING
        return WorkspaceState(State.MISSING, "folder_missing", "Its folder is gone.")

    def wait_running(
        self,
        project_id: str,
        timeout_s: float,  # noqa: ARG002 - the port's
        *,
        changed_at: datetime | None = None,  # noqa: ARG002 - the port's
    ) -> WorkspaceState:
        return self.state(project_id)

    def found(self) -> Sequence[Found]:
        """None: a folder by itself is no project."""
        return ()

    def is_there(self, project_id: str) -> bool:
        root, _ = self._folders(project_id)
        return root.exists()

    def prune(self, *, older_than_s: float = TOKEN_AGE_S) -> int:
        """Remove start tokens this much older than the end of their command's directory, and
        what crashed runners left half done. The number of tokens removed."""
        removed = 0
        with asking("cannot prune the start tokens"):
            for commands in self._commands_dir.glob("*"):
                if _PROJECT.fullmatch(commands.name):
                    removed += _prune(commands, older_than_s)
                    self._prune_cgroups(commands)
            self._prune_half_done()
        return removed

    def close(self) -> None:
        """Stop this process's threads and watches. What runs in the workspaces goes on."""
        with self._making:
            if self._made is not None:
                self._made.close()

    def _prune_half_done(self) -> None:
        """What was left of projects that were being deleted or cloned."""
        for lock in self._commands_dir.glob(f"{LOCK}*"):
            if lock_file.noted(lock):
                continue  # for who undoes what it tells of
            with lock_file.held(lock, wait_s=0):  # and gone, but for who has it
                pass
        for parent in (self._workspaces_dir, self._commands_dir):
            for folder in parent.glob(".*"):
                if not folder.name.startswith((PREPARING, REMOVING)):
                    continue
                with suppress(FileNotFoundError):  # another was faster
                    # Of its last rename, which its other times do not tell.
                    if time.time() - folder.stat().st_ctime > _HALF_DONE_AGE_S:
                        if parent == self._commands_dir:  # what is elsewhere callers made
                            _end_feeders(folder)
                        shutil.rmtree(folder, ignore_errors=True)

    def _prune_cgroups(self, commands: Path) -> None:
        from rdev.adapters.workspaces.local_workspace import cgroup_prefix

        prefix = cgroup_prefix(commands)
        for group in self._means.cgroups().left_over(prefix):
            if not (commands / group.folders[0].name.removeprefix(prefix)).exists():
                group.remove()

    def _folders(self, project_id: str) -> tuple[Path, Path]:
        name = self._named(project_id)
        return self._workspaces_dir / name, self._commands_dir / name

    def _lock(self, project_id: str) -> Path:
        return self._commands_dir / f"{LOCK}{self._named(project_id)}"

    def _named(self, project_id: str) -> str:
        if not _PROJECT.fullmatch(project_id):
            raise InvalidRequest.field("project", "must be a DNS label")
        return project_id

    def _clone(self, git_url: str, root: Path, lock: Path) -> None:
        new = root.with_name(f"{PREPARING}{root.name}.{os.urandom(4).hex()}")
        try:
            git_clone.clone(
                git_url, new, protocols=self._git_protocols, timeout_s=self._clone_timeout_s
            )
            lock_file.note(lock, b"made")
            new.rename(root)
        except OSError:
            if not root.exists():  # nobody else was faster
                raise
            lock_file.note(lock, b"")
        finally:
            shutil.rmtree(new, ignore_errors=True)


def _remove(tree: Path) -> None:
    """Remove a folder in which others may be at work for the last time: a runner that cleans up, a
    supervisor that writes its last file. Raises OSError for what stays."""
    for _ in range(3):
        shutil.rmtree(tree, ignore_errors=True)
    if tree.exists():
        shutil.rmtree(tree)


def _aside(folder: Path) -> Sequence[Path]:
    """What was put aside of it, or was to become it. No project's name has a dot."""
    found = (folder.parent.glob(f"{kind}{folder.name}.*") for kind in (REMOVING, PREPARING))
    return [each for some in found for each in some]


def _end_feeders(commands: Path) -> None:
    from rdev.adapters.workspaces.stdin_file import StdinFile  # not for those who only read

    for folder in commands.iterdir():
        if folder.is_dir():
            StdinFile(folder).end_feeder()


def _put_aside(folder: Path) -> Path | None:
    """Rename it, so that it is gone at once; None where there is none."""
    old = folder.with_name(f"{REMOVING}{folder.name}.{os.urandom(4).hex()}")
    try:
        return folder.rename(old)
    except FileNotFoundError:
        return None


def _prune(commands: Path, older_than_s: float) -> int:
    removed = 0
    now = time.time()
    for entry in os.scandir(commands):
        half_done = entry.name.startswith((PREPARING, REMOVING))
        if half_done and now - entry.stat().st_mtime > _HALF_DONE_AGE_S:
            shutil.rmtree(entry.path, ignore_errors=True)
    for entry in os.scandir(commands / TOKENS):
        if (commands / entry.name).exists() or now - entry.stat().st_mtime <= older_than_s:
            continue
        Path(entry.path).unlink(missing_ok=True)
        removed += 1
    return removed
