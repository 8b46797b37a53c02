"""A container: a process with its own root, mounts, pids and user. It takes root."""

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kubernetes_stand_in.images import DEVICES, lay_out

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class StartFailed(Exception):
    """Its program cannot be run."""


class Container:
    """Runs from the beginning until `kill`, or until its program ends."""

    def __init__(
        self,
        folder: Path,
        spec: Mapping[str, Any],
        *,
        mounts: Mapping[str, Path],
        env: Mapping[str, str],
        user: int,
        boot_id: str,
    ) -> None:
        """`mounts`: folders of the host by where they belong; `boot_id`: its node's. Raises
        ImagePullFailed and StartFailed."""
        self._root = folder / "root"
        self._user = user
        self._cwd = spec.get("workingDir") or "/"
        self._env = {"PATH": PATH, **env}
        self._execs: list[subprocess.Popen[bytes]] = []
        of_image = lay_out(spec["image"], self._root)
        argv = [*(spec.get("command") or ["sleep", "1000000"]), *(spec.get("args") or [])]
        (folder / "boot_id").write_text(f"{boot_id}\n")
        script = self._script(of_image, mounts, spec, argv)
        self._log = folder / "stderr"
        log = self._log.open("wb")
        self._outer = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", script],
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        self._guard = _guard(self._outer.pid)
        self.pid = 0
        self.pid = self._first_process()

    def _script(
        self,
        of_image: Mapping[Path, str],
        mounts: Mapping[str, Path],
        spec: Mapping[str, Any],
        argv: Sequence[str],
    ) -> str:
        root = shlex.quote(str(self._root))
        lines = [f"mount --bind {root} {root}", f"mount -t proc proc {root}/proc"]
        boot_id = shlex.quote(str(self._root.with_name("boot_id")))
        lines.append(f"mount --bind -o ro {boot_id} {root}/proc/sys/kernel/random/boot_id")
        for source, place in of_image.items():
            lines.append(f"mount --bind -o ro {source} {root}/{place}")
        for device in DEVICES:
            lines.append(f"mount --bind /dev/{device} {root}/dev/{device}")
        for where, source in sorted(mounts.items()):
            (self._root / where.lstrip("/")).mkdir(parents=True, exist_ok=True)
            lines.append(f"mount --bind {shlex.quote(str(source))} {root}{shlex.quote(where)}")
        if (spec.get("securityContext") or {}).get("readOnlyRootFilesystem"):
            lines.append(f"mount -o remount,bind,ro {root}")
        lines.append(f"exec setpriv --no-new-privs {shlex.join(self._inside(argv))}")
        return "\n".join(lines)

    def _inside(self, argv: Sequence[str]) -> list[str]:
        who = ["--setgid", str(self._user), "--setuid", str(self._user)]
        return ["unshare", "--root", str(self._root), "--wd", self._cwd, *who, "--", *argv]

    def _first_process(self) -> int:
        """The pid on the host, as soon as the container's own program runs."""
        deadline = time.monotonic() + 30
        while self._outer.poll() is None and time.monotonic() < deadline:
            try:
                pid = self._children()[0]
                if Path(f"/proc/{pid}/root").readlink() == self._root:
                    program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
                    if program != b"unshare":
                        return pid
            except (OSError, IndexError, ValueError):
                pass
            time.sleep(0.002)
        self.kill()
        raise StartFailed(self._log.read_text().strip() or "its program ended at once")

    def _children(self) -> list[int]:
        """Process 1, which may not be the container's own program yet; nobody where it ended."""
        if self._outer.poll() is not None:
            return []
        of = f"/proc/{self._outer.pid}/task/{self._outer.pid}/children"
        try:
            return [int(pid) for pid in Path(of).read_text().split()]
        except OSError:  # it ended just now
            return []

    def run(self, argv: Sequence[str], *, stdin: bool) -> "subprocess.Popen[bytes]":
        """Another process in it. Raises FileNotFoundError."""
        if not self._has(argv[0]):
            raise FileNotFoundError(argv[0])
        who = ["--setuid", str(self._user), "--setgid", str(self._user)]
        # Its folder has to be said: else it stays in that of the tests, outside its root.
        where = ["--target", str(self.pid), "--mount", "--pid", "--root", f"--wdns={self._cwd}"]
        enter = ["nsenter", *where, *who]
        process = subprocess.Popen(
            ["setpriv", "--no-new-privs", *enter, "--", *argv],
            env=self._env,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._execs = [each for each in self._execs if each.poll() is None]
        self._execs.append(process)
        return process

    def _has(self, program: str) -> bool:
        places = [""] if "/" in program else self._env["PATH"].split(":")
        return any(os.path.lexists(f"/proc/{self.pid}/root{place}/{program}") for place in places)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        code = self._outer.poll()
        return code if code is None or code >= 0 else 128 - code

    def terminate(self, grace_s: float) -> None:
        """TERM to its process 1, KILL to all when the grace is over."""
        try:
            os.kill(self.pid, signal.SIGTERM)
            self._outer.wait(grace_s)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        self.kill()

    def kill(self) -> None:
        """With process 1 the kernel kills all of its pids. By name: what changed its user is not
        killed with its parent."""
        self._guard.kill()
        self._guard.communicate()
        for pid in self._children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._outer.kill()
        self._outer.wait()
        for each in self._execs:
            each.send_signal(signal.SIGCONT)  # nsenter stops when its child is stopped
            each.wait(30)
        shutil.rmtree(self._root, ignore_errors=True)


def _guard(group: int) -> "subprocess.Popen[bytes]":
    """Kills a process group as soon as this process is gone, however it went: then the pipe that
    it reads from ends. Not PR_SET_PDEATHSIG: that strikes when the thread that forked ends."""
    return subprocess.Popen(
        ["sh", "-c", 'cat >/dev/null; kill -s KILL -- "-$0"', str(group)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
