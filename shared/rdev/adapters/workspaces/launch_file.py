"""The file a leader sources to become its command. Pure: text from a Launch.

Values stand in it single-quoted, so no shell looks into them, and neither they nor the argv are
ever an argument of the supervisor: process lists show nothing before the command itself runs.
"""

import os
import re
import shlex
from collections.abc import Mapping

from rdev.domain.commands import Launch
from rdev.errors import CommandRefused

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Read-only in bash, where assigning them ends the shell; OPTIND takes but numbers.
_READ_ONLY = {"UID", "EUID", "PPID", "BASHOPTS", "SHELLOPTS", "BASH_VERSINFO", "OPTIND"}
# bash computes these itself: a value would not arrive as it was given.
_COMPUTED = {
    *("BASHPID", "BASH_ARGV0", "BASH_COMMAND", "BASH_SUBSHELL", "DIRSTACK", "EPOCHREALTIME"),
    *("EPOCHSECONDS", "FUNCNAME", "GROUPS", "HISTCMD", "LINENO", "RANDOM", "SECONDS", "SRANDOM"),
}
_OURS = "RDEV_COMMAND_ID"  # how a command's processes are found again


def environment(launch: Launch, *, home: str, path: str) -> dict[str, str]:
    """A command's whole environment. `path` is what PATH is without the caller's own; programs
    installed into the workspace's `~/.local/bin` come first."""
    return {
        "PATH": f"{home}/.local/bin:{path}",
        "HOME": home,
        "LANG": "C.UTF-8",
        **launch.env,
        _OURS: launch.command_id,
    }


def check(launch: Launch) -> None:
    """Raise CommandRefused for what no leader could do as it was asked."""
    for name, value in launch.env.items():
        if not _NAME.fullmatch(name) or name in _READ_ONLY | _COMPUTED | {_OURS}:
            raise CommandRefused(
                "env_not_allowed", f"env: {name!r} cannot be set; use another name"
            )
        if "\0" in value:
            raise CommandRefused("env_not_allowed", f"env: {name} contains a NUL character")
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
