"""One project's folder on this machine, and the commands in it.

What must hold while nobody is attached lies in supervisor.sh; here are the asking and telling.
"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rdev import failpoints
from rdev.adapters.workspaces import cgroups, judgement, launch_file, processes, start_token
from rdev.adapters.workspaces.asking import asking
from rdev.adapters.workspaces.cgroups import Parents
from rdev.adapters.workspaces.children import Children
from rdev.adapters.workspaces.command_files import CommandFiles
from rdev.adapters.workspaces.dispatcher import Dispatcher
from rdev.adapters.workspaces.processes import Process
from rdev.adapters.workspaces.start_token import StartToken
from rdev.adapters.workspaces.watch import Watches
from rdev.domain.ids import COMMAND_ID
from rdev.errors import CommandRefused, InvalidRequest, WorkspaceUnavailable
from rdev.ports import Liveness

if TYPE_CHECKING:
    from rdev.domain.commands import Exit, Launch

SUPERVISOR = Path(__file__).with_name("supervisor.sh")


@dataclass(frozen=True, slots=True)
class Means:
    """What the workspaces of one process share."""

    dispatcher: Dispatcher
    children: Children
    watches: Watches
    shell: tuple[str, ...]
    path: str
    drain_s: float
    boot: str
    cgroups: Callable[[], Parents]

    @classmethod
    def make(
        cls,
        *,
        shell: tuple[str, ...],
        path: str,
        drain_s: float,
        use_inotify: bool,
        find_cgroups: Callable[[], Parents] | None,
    ) -> Means:
        dispatcher = Dispatcher("workspaces")
        return cls(
            dispatcher,
            Children(dispatcher),
            Watches(dispatcher, use_inotify=use_inotify),
            shell,
            path,
            drain_s,
            processes.boot_id(),
            # Looked for when first asked: it forks once.
            cache(find_cgroups or cgroups.find),
        )

    def close(self) -> None:
        self.dispatcher.close()
        self.watches.close()
        self.children.close()


def cgroup_prefix(commands: Path) -> str:
    """How the control groups of a project's commands begin: other projects, and other rdevs on
    this machine, have theirs beside them."""
    return f"rdev-{hashlib.sha256(os.fsencode(commands)).hexdigest()[:12]}-"


class LocalWorkspace:
    """One project's folder. See ports.Workspace for what each method promises."""

    def __init__(self, project_id: str, root: Path, commands: Path, means: Means) -> None:
        self._project_id = project_id
        self._root = root
        self._commands = commands
        self._means = means

    def life(self) -> None:
        """Start tokens lie on this machine's disk and outlive everything that uses them, save a
        power cut (`boot_id`)."""

    def boot_id(self) -> str | None:
        return self._means.boot or None

    def start(self, launch: Launch) -> None:
        launch_file.check(launch)
        files = self._files(launch.command_id)
        with asking(f"cannot start {launch.command_id}"):
            if failpoints.without("start_token"):
                files.token_path.unlink(missing_ok=True)
            if files.token_path.exists():
                return
            if not self._root.is_dir():
                raise WorkspaceUnavailable(f"the folder of {self._project_id} is missing")
            home = os.fspath(self._root)
            env = launch_file.environment(launch, home=home, path=self._means.path)
            group = self._group_for(launch)
            files.prepare(
                launch_file.render(launch, env),
                launch.stdin,
                stdin_open=launch.stdin_open,
                cgroups=group,
            )
            if not files.remove_if_superseded():
                # As prepared: another runner may have been faster, and elsewhere.
                files.cgroup().make(memory_mb=launch.memory_mb, processes=launch.processes)
                self._spawn(files)

    def liveness(self, command_id: str) -> Liveness:
        files = self._files(command_id)
        with asking(f"cannot see {command_id}"):
            token = files.token()
            if token is None:
                return Liveness.PREPARED if files.directory.is_dir() else Liveness.UNKNOWN
            if token.cancelled:
                return Liveness.CANCELLED
            return self._started(files, token)

    def refusal(self, command_id: str) -> tuple[str, str] | None:
        with asking(f"cannot see {command_id}"):
            return self._files(command_id).refusal()

    def ran_for_s(self, command_id: str) -> float | None:
        with asking(f"cannot see {command_id}"):
            token = self._files(command_id).token()
        leader = self._leader(token) if token else None
        return leader.age_s() if leader else None

    def exit(self, command_id: str) -> Exit | None:
        with asking(f"cannot see {command_id}"):
            return self._files(command_id).exit()

    def read(self, command_id: str, stream: str, offset: int, max_bytes: int) -> bytes:
        with asking(f"cannot read {command_id}"):
            return self._files(command_id).read(stream, offset, max_bytes)

    def wait(self, command_id: str, timeout_s: float) -> None:
        self._means.watches.wait(self._files(command_id).directory, timeout_s)

    def wake(self, command_id: str) -> None:
        self._means.watches.wake(self._files(command_id).directory)

    def feed(self, command_id: str, offset: int, data: bytes) -> int | None:
        with asking(f"cannot feed {command_id}"):
            return self._files(command_id).stdin.feed(offset, data)

    def close_stdin(self, command_id: str) -> None:
        with asking(f"cannot close the stdin of {command_id}"):
            self._files(command_id).stdin.close()

    def usage(self, command_id: str) -> Mapping[str, int | float]:
        with asking(f"cannot see {command_id}"):
            return self._files(command_id).cgroup().usage()

    def signal(self, command_id: str, name: str) -> None:
        number = {"TERM": signal.SIGTERM, "INT": signal.SIGINT, "KILL": signal.SIGKILL}[name]
        with asking(f"cannot signal {command_id}"):
            files = self._files(command_id)
            token = files.token()
            if token is None or token.cancelled:
                return
            if number is signal.SIGKILL:
                self._kill(files, token)
            elif (leader := self._leader(token)) is None or not processes.signal_group(
                leader, number
            ):
                # The leader is gone: those it left behind, one by one.
                for pid in self._alive(files, token):
                    processes.send(pid, number)
            for supervisor in self._supervisors(token):
                processes.send(supervisor.pid, signal.SIGCONT)  # somebody may have stopped it

    def survivors(self, command_id: str) -> int:
        with asking(f"cannot see {command_id}"):
            files = self._files(command_id)
            token = files.token()
            return 0 if token is None else len(self._alive(files, token))

    def flushed(self, command_id: str) -> bool | None:
        with asking(f"cannot see {command_id}"):
            files = self._files(command_id)
            token = files.token()
            # In this order: what it leaves behind is final.
            supervised = token is not None and bool(self._supervisors(token))
            return files.has("synced") or (False if supervised else None)

    def loss(self, command_id: str) -> str | None:
        with asking(f"cannot see {command_id}"):
            token = self._files(command_id).token()
        if token is None or not token.takers:
            return None
        if all(taker.boot != self._means.boot for taker in token.takers):
            return "The machine was started anew."
        return None

    def forestall(self, command_id: str) -> bool:
        files = self._files(command_id)
        with asking(f"cannot cancel {command_id}"):
            files.token_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return start_token.plant(files.token_path)

    def clean(self, command_id: str) -> None:
        files = self._files(command_id)
        self._means.watches.forget(files.directory)
        with asking(f"cannot clean up {command_id}"):
            files.cgroup().remove()
            files.remove()
            if files.token_path.exists():
                os.utime(files.token_path)  # its seven days begin now

    def abolish(self, command_id: str) -> None:
        """Have the command gone, whatever it is doing, with its supervisor and its directory."""
        files = self._files(command_id)
        if not self.forestall(command_id) and (token := files.token()) is not None:
            self._kill(files, token)
            for supervisor in self._supervisors(token):
                processes.send(supervisor.pid, signal.SIGKILL)
        self.clean(command_id)

    def _started(self, files: CommandFiles, token: StartToken) -> Liveness:
        seen = judgement.of_started(
            token, self._means.boot, has=files.has, ended=files.ended, alive=Process.alive
        )
        return seen or self._abandoned(files, token)

    def _abandoned(self, files: CommandFiles, token: StartToken) -> Liveness:
        """Nobody is left to end it properly, so this does. Looked at anew: the supervisor may
        have ended between two looks because all was done, or because its leader gave the token
        back (a full disk); then nothing has begun."""
        if files.has("done"):
            return Liveness.ENDED
        if not token.signed:
            if files.token() != token:
                return self.liveness(files.command_id)
            if judgement.never_began(token, self._means.boot):
                files.refuse("infrastructure", judgement.NEVER_BEGAN)
        self._kill(files, token)
        files.stdin.end_feeder()
        if not files.ended():
            return Liveness.DEAD
        files.finish()
        return Liveness.ENDED

    def _supervisors(self, token: StartToken) -> list[Process]:
        takers = (taker for taker in token.takers if taker.boot == self._means.boot)
        return [taker.supervisor for taker in takers if taker.supervisor.alive()]

    def _leader(self, token: StartToken) -> Process | None:
        """None also for one from before a boot: its process id may be anybody's by now."""
        return token.leader if token.boots == {self._means.boot} else None

    def _kill(self, files: CommandFiles, token: StartToken) -> None:
        files.cgroup().kill()
        processes.kill_command(files.command_id, self._leader(token))

    def _alive(self, files: CommandFiles, token: StartToken) -> list[int]:
        found = processes.of_command(files.command_id, self._leader(token))
        return list(dict.fromkeys([*found, *files.cgroup().pids()]))

    def _group_for(self, launch: Launch) -> tuple[Path, ...]:
        if not launch.limited:
            return ()
        parents = self._means.cgroups()
        for name in ("memory_mb", "processes"):
            if getattr(launch, name) is not None and name not in parents.limits:
                raise CommandRefused("limits_not_enforceable", f"{name} is not enforceable here")
        return parents.group(cgroup_prefix(self._commands) + launch.command_id).folders

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
        if not COMMAND_ID.fullmatch(command_id):
            raise InvalidRequest.field("command", "no id of a command")
        return CommandFiles(self._commands, command_id)
