"""The file a leader sources to become its command. Pure: text from a Launch.

Values stand in it single-quoted, so no shell looks into them, and neither they nor the argv are
ever an argument of the supervisor: process lists show nothing before the command itself runs.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rdev.domain.environment import OWN, problem
from rdev.errors import CommandRefused

if TYPE_CHECKING:
    from rdev.domain.commands import Launch

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(launch: Launch, *, home: str, path: str) -> dict[str, str]:
    """A command's whole environment. `path` is what PATH is without the caller's own; programs
    installed into the workspace's `~/.local/bin` come first."""
    return {
        "PATH": f"{home}/.local/bin:{path}",
        "HOME": home,
        "LANG": "C.UTF-8",
        **launch.env,
        OWN: launch.command_id,
    }


def check(launch: Launch) -> None:
    """Raise CommandRefused for what no leader could do as it was asked."""
    wrong = problem(launch.env)
    if wrong is not None:
        raise CommandRefused("env_not_allowed", f"env: {wrong}")
    if not launch.argv:
        raise CommandRefused("argv_not_allowed", "argv: names no program")
    if any("\0" in word for word in launch.argv):
        raise CommandRefused("argv_not_allowed", "argv: contains a NUL character")
    if "\0" in launch.cwd:
        raise CommandRefused("cwd_not_found", "cwd: contains a NUL character")


def render(launch: Launch, env: Mapping[str, str]) -> bytes:
    """`enter` and `program` are the supervisor's; `$@` is what it puts before the command; 3 and
    4 are the files that take stdout and stderr. Nothing of the supervisor but `$@` is used once
    the exports begin: they may have overwritten it."""
    lines = [
        f"enter {shlex.quote(launch.cwd)}",
        f"program {shlex.quote(launch.argv[0])} {shlex.quote(env['PATH'])}",
        *(f"export {name}={shlex.quote(value)}" for name, value in env.items()),
        f'exec "$@" {shlex.join(launch.argv)} >&3 2>&4 3>&- 4>&-',
        "",
    ]
    return os.fsencode("\n".join(lines))
