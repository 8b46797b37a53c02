"""Workspaces as folders on this machine.

What must hold while nobody is attached lies in supervisor.sh; here are the asking and telling.
"""

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rdev.adapters.workspaces import git_clone, launch_file, processes, start_token
from rdev.adapters.workspaces.children import Children
from rdev.adapters.workspaces.command_files import PREPARING, REMOVING, TOKENS, CommandFiles
from rdev.adapters.workspaces.dispatcher import Dispatcher
from rdev.adapters.workspaces.start_token import StartToken
from rdev.adapters.workspaces.watch import Watches
from rdev.domain.commands import Exit, Launch
from rdev.errors import InvalidRequest, WorkspaceUnavailable
from rdev.ports import Liveness

SUPERVISOR = Path(__file__).with_name("supervisor.sh")
TOKEN_AGE_S = 7 * 86400.0

_PROJECT = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_COMMAND = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_HALF_DONE_AGE_S = 3600.0


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """A file system that does not answer as it should makes the workspace unavailable."""
    try:
        yield
    except OSError as exc:
        raise WorkspaceUnavailable(f"{what}: {exc}") from exc


@dataclass(frozen=True, slots=True)
class _Means:
    """What the workspaces of one process share."""

    children: Children
    watches: Watches
    shell: tuple[str, ...]
    path: str
    drain_s: float
    boot: str


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
        git_protocols: Sequence[str] = ("https", "http", "ssh"),
        clone_timeout_s: float = 300.0,
    ) -> None:
        """`path` is PATH as commands find it (their workspace's `~/.local/bin` is put before
        it) and where the supervisor finds its few programs."""
        self._workspaces_dir = workspaces_dir.absolute()
        self._commands_dir = commands_dir.absolute()
        self._git_protocols = tuple(git_protocols)
        self._clone_timeout_s = clone_timeout_s
        self._dispatcher = Dispatcher("workspaces")
        self._means = _Means(
            children=Children(self._dispatcher),
            watches=Watches(self._dispatcher, use_inotify=use_inotify),
            shell=tuple(shell),
            path=path,
            drain_s=drain_s,
            boot=processes.boot_id(),
        )

    def of(self, project_id: str) -> "LocalWorkspace":
        root, commands = self._folders(project_id)
        return LocalWorkspace(project_id, root, commands, self._means)

    def create(self, project_id: str, *, git_url: str | None) -> None:
        """Make the folder, empty or as a clone. There already: it stays as it is."""
        root, commands = self._folders(project_id)
        with _asking(f"cannot make the workspace {project_id}"):
            (commands / TOKENS).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._workspaces_dir.mkdir(parents=True, exist_ok=True)
            if git_url is None:
                root.mkdir(exist_ok=True)
            elif not root.exists():
                self._clone(git_url, root)

    def delete(self, project_id: str) -> None:
        """The folder goes first, so that nothing can start in it any more."""
        root, commands = self._folders(project_id)
        with _asking(f"cannot delete the workspace {project_id}"):
            old_root = _put_aside(root)
            if commands.exists():
                workspace = self.of(project_id)
                for folder in commands.iterdir():
                    if _COMMAND.fullmatch(folder.name):
                        workspace.abolish(folder.name)
            for old in (old_root, _put_aside(commands)):
                if old is not None:
                    shutil.rmtree(old)

    def prune(self, *, older_than_s: float = TOKEN_AGE_S) -> int:
        """Remove start tokens this much older than the end of their command's directory, and
        what crashed runners left half done. The number of tokens removed."""
        removed = 0
        with _asking("cannot prune the start tokens"):
            for commands in self._commands_dir.glob("*"):
                if _PROJECT.fullmatch(commands.name):
                    removed += _prune(commands, older_than_s)
        return removed

    def close(self) -> None:
        """Stop this process's threads and watches. What runs in the workspaces goes on."""
        self._dispatcher.close()
        self._means.watches.close()
        self._means.children.close()

    def _folders(self, project_id: str) -> tuple[Path, Path]:
        if not _PROJECT.fullmatch(project_id):
            raise InvalidRequest.field("project", "must be a DNS label")
        return self._workspaces_dir / project_id, self._commands_dir / project_id

    def _clone(self, git_url: str, root: Path) -> None:
        new = root.with_name(f"{PREPARING}{root.name}.{os.urandom(4).hex()}")
        try:
            git_clone.clone(
                git_url, new, protocols=self._git_protocols, timeout_s=self._clone_timeout_s
            )
            new.rename(root)
        except OSError:
            if not root.exists():  # nobody else was faster
                raise
        finally:
            shutil.rmtree(new, ignore_errors=True)


class LocalWorkspace:
    """One project's folder. See ports.Workspace for what each method promises."""

    def __init__(self, project_id: str, root: Path, commands: Path, means: _Means) -> None:
        self._project_id = project_id
        self._root = root
        self._commands = commands
        self._means = means

    def start(self, launch: Launch) -> None:
        launch_file.check(launch)
        files = self._files(launch.command_id)
        with _asking(f"cannot start {launch.command_id}"):
            if files.token_path.exists():
                return
            if not self._root.is_dir():
                raise WorkspaceUnavailable(f"the folder of {self._project_id} is missing")
            home = os.fspath(self._root)
            env = launch_file.environment(launch, home=home, path=self._means.path)
            files.prepare(launch_file.render(launch, env), launch.stdin)
            if not files.remove_if_superseded():
                self._spawn(files)

    def liveness(self, command_id: str) -> Liveness:
        files = self._files(command_id)
        with _asking(f"cannot see {command_id}"):
            token = files.token()
            if token is None:
                return Liveness.PREPARED if files.directory.is_dir() else Liveness.UNKNOWN
            if token.cancelled:
                return Liveness.CANCELLED
            return self._started(files, token)

    def refusal(self, command_id: str) -> tuple[str, str] | None:
        with _asking(f"cannot see {command_id}"):
            return self._files(command_id).refusal()

    def exit(self, command_id: str) -> Exit | None:
        with _asking(f"cannot see {command_id}"):
            return self._files(command_id).exit()

    def read(self, command_id: str, stream: str, offset: int, max_bytes: int) -> bytes:
        with _asking(f"cannot read {command_id}"):
            return self._files(command_id).read(stream, offset, max_bytes)

    def wait(self, command_id: str, timeout_s: float) -> None:
        self._means.watches.wait(self._files(command_id).directory, timeout_s)

    def signal(self, command_id: str, name: str) -> None:
        number = {"TERM": signal.SIGTERM, "INT": signal.SIGINT, "KILL": signal.SIGKILL}[name]
        with _asking(f"cannot signal {command_id}"):
            token = self._files(command_id).token()
            if token is None or token.cancelled:
                return
            if number is signal.SIGKILL:
                self._kill(command_id, token)
            elif token.leader is None or not processes.signal_group(token.leader, number):
                # The leader is gone: those it left behind, one by one.
                for pid in self._alive(command_id, token):
                    processes.send(pid, number)

    def survivors(self, command_id: str) -> int:
        with _asking(f"cannot see {command_id}"):
            token = self._files(command_id).token()
            return 0 if token is None else len(self._alive(command_id, token))

    def forestall(self, command_id: str) -> bool:
        files = self._files(command_id)
        with _asking(f"cannot cancel {command_id}"):
            files.token_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return start_token.plant(files.token_path)

    def clean(self, command_id: str) -> None:
        files = self._files(command_id)
        self._means.watches.forget(files.directory)
        with _asking(f"cannot clean up {command_id}"):
            files.remove()
            if files.token_path.exists():
                os.utime(files.token_path)  # its seven days begin now

    def abolish(self, command_id: str) -> None:
        """Have the command gone, whatever it is doing, with its supervisor and its directory."""
        files = self._files(command_id)
        if not self.forestall(command_id) and (token := files.token()) is not None:
            self._kill(command_id, token)
            for taker in token.takers:
                if taker.supervisor.alive():
                    processes.send(taker.supervisor.pid, signal.SIGKILL)
        self.clean(command_id)

    def _started(self, files: CommandFiles, token: StartToken) -> Liveness:
        takers = [taker for taker in token.takers if taker.boot == self._means.boot]
        if not takers and token.takers:  # the machine was started anew since
            return Liveness.ENDED if files.has("synced") else Liveness.DEAD
        if files.has("done"):
            return Liveness.ENDED
        supervised = any(taker.supervisor.alive() for taker in takers)
        if not supervised and not any(taker.leader.alive() for taker in takers):
            return self._abandoned(files, token)
        if not files.ended():
            return Liveness.RUNNING
        if supervised:
            return Liveness.DRAINING
        return self._abandoned(files, token)

    def _abandoned(self, files: CommandFiles, token: StartToken) -> Liveness:
        """Nobody is left to end it properly, so this does. Looked at anew: the supervisor may
        have ended between two looks because all was done."""
        if files.has("done"):
            return Liveness.ENDED
        self._kill(files.command_id, token)
        if not files.ended():
            return Liveness.DEAD
        files.finish()
        return Liveness.ENDED

    def _kill(self, command_id: str, token: StartToken) -> None:
        processes.kill_command(command_id, token.leader)

    def _alive(self, command_id: str, token: StartToken) -> list[int]:
        return processes.of_command(command_id, token.leader)

    def _spawn(self, files: CommandFiles) -> None:
        arguments = (
            os.fspath(files.directory),
            os.fspath(files.token_path),
            os.fspath(self._root),
            str(round(self._means.drain_s * 100)),
        )
        self._means.children.spawn(
            (*self._means.shell, os.fspath(SUPERVISOR), *arguments),
            path=self._means.path,
            log=files.directory / "log",
        )

    def _files(self, command_id: str) -> CommandFiles:
        if not _COMMAND.fullmatch(command_id):
            raise InvalidRequest.field("command", "no id of a command")
        return CommandFiles(self._commands, command_id)


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
