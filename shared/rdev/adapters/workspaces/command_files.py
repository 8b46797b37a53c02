"""One command's directory and start token: preparing it, and reading what is in it."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rdev.adapters.workspaces import plain_file, start_token
from rdev.adapters.workspaces.cgroup import Cgroup
from rdev.adapters.workspaces.folder_names import PREPARING, REMOVING, TOKENS
from rdev.adapters.workspaces.start_token import StartToken
from rdev.adapters.workspaces.stdin_file import StdinFile

if TYPE_CHECKING:
    from rdev.domain.commands import Exit

_STATUS = re.compile(r"\d{1,3}\n", re.ASCII)
_FILES = {"stdout": "out", "stderr": "err"}


@dataclass(frozen=True, slots=True)
class CommandFiles:
    """Where one command's files lie. The names in the directory are supervisor.sh's."""

    project: Path
    """The project's folder for command files."""
    command_id: str

    @property
    def directory(self) -> Path:
        return self.project / self.command_id

    @property
    def token_path(self) -> Path:
        return self.project / TOKENS / self.command_id

    def token(self) -> StartToken | None:
        return start_token.read(self.token_path, self.directory)

    def has(self, name: str) -> bool:
        return (self.directory / name).exists()

    @property
    def stdin(self) -> StdinFile:
        """For a command whose stdin stays open."""
        return StdinFile(self.directory)

    def prepare(
        self, script: bytes, stdin: bytes, *, stdin_open: bool, cgroups: tuple[Path, ...]
    ) -> None:
        """Put the directory in place, whole or not at all. There already: it stays as it is."""
        if self.directory.exists():
            return
        (self.project / TOKENS).mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.project / f"{PREPARING}{self.command_id}.{os.urandom(4).hex()}"
        new.mkdir(mode=0o700)
        try:
            _write(new / "launch", script)
            if stdin or stdin_open:
                _write(new / "stdin", stdin)
            if stdin_open:
                StdinFile(new).prepare()
            if cgroups:
                _write(new / "cgroups", b"".join(os.fsencode(path) + b"\n" for path in cgroups))
            for name in _FILES.values():
                _write(new / name, b"")
            new.rename(self.directory)
        except OSError:
            shutil.rmtree(new, ignore_errors=True)
            if not self.directory.exists():  # nobody else was faster
                raise

    def cgroup(self) -> Cgroup:
        """The command's control group, with no folders where it has none."""
        try:
            lines = plain_file.content(self.directory / "cgroups").splitlines()
        except FileNotFoundError:
            return Cgroup(())
        return Cgroup(tuple(Path(os.fsdecode(line)) for line in lines))

    def exit(self) -> Exit | None:
        """The leader's status; None while there is none, and where nothing was run."""
        from rdev.domain.commands import Exit  # not for those who only make or list projects

        try:
            text = plain_file.text(self.directory / "exit")
        except FileNotFoundError:
            return None
        # One write of a few bytes; without its newline it has not happened yet. Anything else than
        # a number somebody else has written: then nobody knows.
        return Exit(int(text)) if _STATUS.fullmatch(text) else None

    def refusal(self) -> tuple[str, str] | None:
        try:
            text = plain_file.text(self.directory / "refused")
        except FileNotFoundError:
            return None
        reason, _, message = text.removesuffix("\n").partition("\n")
        return reason, message

    def refuse(self, reason: str, message: str) -> None:
        """Say that nothing was run, in the place of a leader that no longer can. Where the
        directory is gone, nothing is left to say it to."""
        new = self.directory / f"refused.{os.urandom(4).hex()}"
        with suppress(FileNotFoundError):
            _write(new, f"{reason}\n{message}\n".encode())
            new.replace(self.directory / "refused")

    def ended(self) -> bool:
        """The leader ended, or declined to begin."""
        return self.exit() is not None or self.has("refused")

    def finish(self) -> None:
        """What the supervisor would have done had it lived: say that all is over."""
        with suppress(FileNotFoundError):
            (self.directory / "done").touch(mode=0o600)

    def read(self, stream: str, offset: int, max_bytes: int) -> bytes:
        try:
            fd = plain_file.descriptor(self.directory / _FILES[stream])
        except FileNotFoundError:
            return b""
        try:
            return os.pread(fd, max_bytes, offset)
        finally:
            os.close(fd)

    def remove_if_superseded(self) -> bool:
        """Remove the directory if the token was taken, and not from within it: the command ran
        to its end and was cleaned up while we prepared it a second time. True: it was."""
        token = self.token()
        if token is None:
            return False
        if not any(self.directory.glob("by:*")):
            self.remove()
        return True

    def remove(self) -> None:
        """Remove the directory, which is gone for others at once, its feeder, and what killed
        runners left of preparing or removing it. Twice is no error."""
        with suppress(FileNotFoundError):
            old = self.project / f"{REMOVING}{self.command_id}.{os.urandom(4).hex()}"
            self.directory.rename(old)
        names = tuple(f"{kind}{self.command_id}." for kind in (PREPARING, REMOVING))
        with suppress(FileNotFoundError):
            for name in os.listdir(self.project):  # noqa: PTH208 - at each command's end
                if name.startswith(names):
                    StdinFile(self.project / name).end_feeder()
                    # Twice: its supervisor may put the last file, `synced`, into it meanwhile.
                    shutil.rmtree(self.project / name, ignore_errors=True)
                    shutil.rmtree(self.project / name, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
