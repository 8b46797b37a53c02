"""A workspace as the port gives it, with short ways to run something in it.

It is shared: what a test makes in it carries the test's own `name`. Files are looked at and made
by commands, for nothing but the port reaches them everywhere.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from conformance.workspaces.targets import Target
from live_stack import wait_for
from rdev.domain.commands import Launch
from rdev.ports import Liveness, Workspace

ENOUGH_S = 120.0
OVER = (Liveness.ENDED, Liveness.DEAD, Liveness.CANCELLED)


@dataclass
class Place:
    target: Target
    project: str
    name: str
    ids: dict[str, None] = field(default_factory=dict)

    @property
    def workspace(self) -> Workspace:
        return self.target.workspaces.of(self.project)

    @contextmanager
    def of_another(self) -> Iterator["Place"]:
        """The same as another runner has it."""
        with self.target.another() as workspaces:
            assert workspaces.wait_running(self.project, ENOUGH_S).running
            yield replace(self, target=replace(self.target, workspaces=workspaces))

    def id(self, which: str = "") -> str:
        """Of a command of this test."""
        made = f"cmd-{self.name}{which}"
        self.ids[made] = None
        return made

    def file(self, which: str) -> str:
        """A name in the workspace that is this test's own."""
        return f"{which}-{self.name}"

    def launch(
        self,
        *argv: str,
        which: str = "",
        env: Mapping[str, str] | None = None,
        cwd: str = ".",
        stdin: bytes = b"",
        **more: Any,
    ) -> Launch:
        return Launch(self.id(which), self.project, argv, env or {}, cwd, stdin, **more)

    def sh(self, line: str, **how: Any) -> Launch:
        return self.launch("sh", "-c", line, **how)

    def run(self, launch: Launch) -> tuple[int | None, bytes, bytes]:
        self.workspace.start(launch)
        which = launch.command_id.removeprefix(f"cmd-{self.name}")
        self.finish(which)
        return self.result(which)

    def do(self, line: str) -> str:
        """What a command that must succeed writes: to make files, and to look at them."""
        code, out, err = self.run(self.sh(line, which=f"-do-{len(self.ids)}"))
        assert code == 0, err
        return out.decode()

    def finish(self, which: str = "") -> None:
        assert self.until_over(which) is Liveness.ENDED

    def until_over(self, which: str = "") -> Liveness:
        command_id, deadline = self.id(which), time.monotonic() + ENOUGH_S
        while time.monotonic() < deadline:
            seen = self.workspace.liveness(command_id)
            if seen in OVER:
                return seen
            self.workspace.wait(command_id, 0.2)
        raise AssertionError(f"still {seen}")

    def result(self, which: str = "") -> tuple[int | None, bytes, bytes]:
        ended = self.workspace.exit(self.id(which))
        code = None if ended is None else ended.exit_code
        return code, self.output("stdout", which), self.output("stderr", which)

    def output(self, stream: str, which: str = "") -> bytes:
        read = bytearray()
        while more := self.workspace.read(self.id(which), stream, len(read), 1 << 20):
            read += more
        return bytes(read)

    def said(self, which: str = "") -> str:
        """What it wrote to stdout so far, once that is at least a line."""
        wait_for(lambda: self.output("stdout", which).endswith(b"\n"))
        return self.output("stdout", which).decode().strip()

    def feed(self, data: bytes, at: int = 0, piece: int = 100_000) -> None:
        """Feed as a runner does: from where it ends, as much as is taken."""
        end, deadline = at, time.monotonic() + ENOUGH_S
        while end < at + len(data):
            taken = self.workspace.feed(self.id(), end, data[end - at : end - at + piece])
            assert taken is not None
            if taken == end:
                assert time.monotonic() < deadline, "nobody reads"
                time.sleep(0.005)
            end = taken

    def alive(self, pid: str | int) -> bool:
        """Whether a process of the workspace is there, and more than a zombie."""
        status = f"/proc/{int(pid)}/status"
        alive = self.do(f"grep -E '^State:[[:space:]]+[^ZX[:space:]]' {status} 2>/dev/null || :")
        return alive != ""

    def clean_up(self) -> None:
        for command_id in list(self.ids):
            self.workspace.signal(command_id, "KILL")
            self.workspace.clean(command_id)
