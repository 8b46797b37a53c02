"""Which environment variables a command may be given. Pure."""

import re
from collections.abc import Mapping

OWN = "RDEV_COMMAND_ID"
"""By this a command's processes are found again."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Read-only in bash, where assigning them ends the shell; OPTIND takes but numbers.
_READ_ONLY = {"UID", "EUID", "PPID", "BASHOPTS", "SHELLOPTS", "BASH_VERSINFO", "OPTIND"}
# bash computes these itself: a value would not arrive as it was given.
_COMPUTED = {
    *("BASHPID", "BASH_ARGV0", "BASH_COMMAND", "BASH_SUBSHELL", "DIRSTACK", "EPOCHREALTIME"),
    *("EPOCHSECONDS", "FUNCNAME", "GROUPS", "HISTCMD", "LINENO", "RANDOM", "SECONDS", "SRANDOM"),
}


def problem(env: Mapping[str, str]) -> str | None:
    """What is wrong with these variables; None: nothing."""
    for name, value in env.items():
        if not _NAME.fullmatch(name) or name in _READ_ONLY | _COMPUTED | {OWN}:
            return f"{name!r} cannot be set; use another name"
        if "\0" in value:
            return f"{name} contains a NUL character"
    return None
