"""The start token: the file whose exclusive creation decides who starts a command, if anybody.

It holds who took it (a Taker, written by the supervisor's leader) or `cancelled`. It outlives
the command's directory, so that a runner that slept through it all starts nothing.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from rdev.adapters.workspaces import plain_file
from rdev.adapters.workspaces.processes import Process

_CANCELLED = "cancelled"
_TAKER_FIELDS = 5


@dataclass(frozen=True, slots=True)
class Taker:
    """A leader that took the token, its supervisor, and the boot of the machine they lived in."""

    leader: Process
    supervisor: Process
    boot: str

    @classmethod
    def parse(cls, text: str) -> "Taker | None":
        fields = text.strip().split(":")
        if len(fields) != _TAKER_FIELDS or not all(field.isdigit() for field in fields[:4]):
            return None
        pid, start, supervisor_pid, supervisor_start = map(int, fields[:4])
        return cls(Process(pid, start), Process(supervisor_pid, supervisor_start), fields[4])


@dataclass(frozen=True, slots=True)
class StartToken:
    """A token as it lies there. More than one taker: one of them took it and was interrupted
    before it could say so (see `lead` in supervisor.sh)."""

    cancelled: bool
    takers: tuple[Taker, ...] = ()
    signed: bool = True
    """False while it does not say whose it is. As long as a taker lives it may yet give it back,
    where the disk is too full to say it."""

    @property
    def boots(self) -> frozenset[str]:
        """Of the machine, in which somebody took it or may have."""
        return frozenset(taker.boot for taker in self.takers)

    @property
    def leader(self) -> Process | None:
        return self.takers[0].leader if len(self.takers) == 1 else None


def read(token: Path, directory: Path) -> StartToken | None:
    """The token, or None where nobody has taken it."""
    try:
        text = plain_file.text(token)
    except FileNotFoundError:
        return None
    return parse(text, lambda: (path.name.removeprefix("by:") for path in directory.glob("by:*")))


def parse(text: str, candidates: Callable[[], Iterable[str]]) -> StartToken:
    """`candidates`: who reached for it, as the names of the files by:TAKER say."""
    if text.strip() == _CANCELLED:
        return StartToken(cancelled=True)
    taker = Taker.parse(text) if text.endswith("\n") else None
    if taker is not None:
        return StartToken(cancelled=False, takers=(taker,))
    takers = tuple(taker for each in candidates() if (taker := Taker.parse(each)) is not None)
    return StartToken(cancelled=False, takers=takers, signed=False)


def plant(token: Path) -> bool:
    """Take the token so that nothing ever starts. True also if that was done before; False if a
    leader was faster."""
    mine = token.with_name(f".{token.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        mine.write_text(f"{_CANCELLED}\n")
        os.link(mine, token)  # unlike a rename, fails where there is one
    except FileExistsError:
        return plain_file.text(token).strip() == _CANCELLED
    finally:
        mine.unlink(missing_ok=True)
    return True
