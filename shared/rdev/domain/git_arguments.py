"""Which arguments git is given: git's own work and nothing else. Pure.

git runs other programs for many options and settings. A key with `projects:execute` can run any
program by `/shell`; `/git` is for callers that build arguments from what others wrote (a branch's
name, a message), and must not become a shell through one of them. So: git's own subcommands only
(an unknown one is an alias of the repository's, or a `git-…` somewhere in PATH), and no option
that names a program or a file to write, however it is abbreviated. Stricter than need be in that
options are looked for behind `--` too: such a file is `./--output`.

What the workspace itself has set up, as hooks and filters, runs as it does for everybody in it.
docs/security.md has the table.
"""

import re
from collections.abc import Mapping, Sequence

SUBCOMMANDS = frozenset(
    """
    add am apply archive bisect blame branch bundle cat-file check-attr check-ignore
    check-ref-format checkout cherry cherry-pick clean clone commit commit-tree config
    count-objects describe diff diff-files diff-index diff-tree fetch for-each-ref format-patch
    fsck gc grep hash-object init log ls-files ls-remote ls-tree merge merge-base merge-tree mv
    name-rev notes pull push range-diff read-tree rebase reflog remote reset restore rev-list
    rev-parse revert rm shortlog show show-branch show-ref sparse-checkout stash status submodule
    switch symbolic-ref tag update-ref verify-commit verify-tag version whatchanged worktree
    write-tree
    """.split()  # noqa: SIM905 - a list of strings is unreadable at this length
)
PROTOCOLS = ("https", "http", "ssh")
"""What a clone may speak: `ext::` would run a program of the URL's choice."""

_BEFORE = {"--no-pager", "-P", "--no-optional-locks", "--literal-pathspecs", "--no-replace-objects"}
_ALONE = {"--version", "-v", "--help", "-h"}

_ELSEWHERE = "leads git elsewhere; use `cwd`"
_RUNS = "can run a program"
_WRITES = "writes a file of your choice; git's output is the command's output"
_CONFIG = "any setting can run a program; ask with `config`, set it in the workspace by /shell"

_LONG = {
    "--build-fake-ancestor": _WRITES,
    "--config": _CONFIG,
    "--config-env": _CONFIG,
    "--exec": _RUNS,
    "--exec-path": _RUNS,
    "--expire-to": _WRITES,
    "--extcmd": _RUNS,
    "--git-dir": _ELSEWHERE,
    "--help": "opens a manual page; use -h",
    "--index-output": _WRITES,
    "--open-files-in-pager": _RUNS,
    "--output": _WRITES,
    "--output-directory": _WRITES,
    "--paginate": _RUNS,
    "--receive-pack": _RUNS,
    "--separate-git-dir": _ELSEWHERE,
    "--strategy": "runs the program git-merge-…; use --strategy-option",
    "--suffix": _WRITES,
    "--template": "brings hooks, which are programs",
    "--unsafe-paths": "writes outside the workspace",
    "--upload-pack": _RUNS,
    "--work-tree": _ELSEWHERE,
}
_SHORT: Mapping[str, Mapping[str, str]] = {
    "archive": {"o": _WRITES},
    "clone": {"c": _CONFIG, "u": _RUNS},
    "format-patch": {"o": _WRITES},
    "grep": {"O": _RUNS},
    "merge": {"s": _LONG["--strategy"]},
    "pull": {"s": _LONG["--strategy"]},
    "rebase": {"s": _LONG["--strategy"], "x": _RUNS},
}
_VERBS = {
    "bisect": {"run", "visualize", "view"},
    "submodule": {"foreach"},
}
_TAKES_URLS = {"archive", "clone", "fetch", "ls-remote", "pull", "push", "remote", "submodule"}
_MAKES_FOLDERS = {"bundle", "clone", "init", "submodule", "worktree"}
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.-]*::")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

_READ_OPTIONS = {"--get", "--get-all", "--get-regexp", "--list", "-l"}
_CONFIG_FLAGS = _READ_OPTIONS | {
    *("--local", "--global", "--worktree", "--show-origin", "--show-scope", "--name-only"),
    *("--null", "-z", "--bool", "--int", "--path", "--default", "--all", "--includes"),
    *("--add", "--unset", "--unset-all", "--replace-all"),
}
_HARMLESS_SETTINGS = {
    *("user.name", "user.email", "init.defaultbranch", "pull.rebase", "pull.ff", "push.default"),
    *("push.autosetupremote", "fetch.prune", "core.autocrlf", "core.quotepath", "merge.ff"),
    *("commit.gpgsign", "tag.gpgsign", "rerere.enabled", "core.filemode", "core.ignorecase"),
}

_ENV_ALLOWED = re.compile(r"GIT_(AUTHOR|COMMITTER)_(NAME|EMAIL|DATE)|GIT_TERMINAL_PROMPT")
_ENV_REFUSED = re.compile(
    r"GIT_.*|(LD|DYLD|SSH|XDG|PERL5?|PYTHON|LESS)[A-Z0-9_]*|PATH|HOME|SHELL|ENV|BASH_.*"
    r"|EDITOR|VISUAL|PAGER|BROWSER|GCONV_PATH|IFS"
)


def problem(args: Sequence[str]) -> str | None:
    """Why git is not run with these arguments, by the argument; None: it is."""
    rest = list(args)
    while rest and rest[0] in _BEFORE:
        rest.pop(0)
    if not rest:
        return "name a subcommand, such as status"
    name, *given = rest
    if name in _ALONE and not given:
        return None
    if name not in SUBCOMMANDS:
        return _no_subcommand(name)
    if name == "config":
        return _config_problem(given)
    found = (_refused_option(arg, name) or _refused_value(arg, name) for arg in given)
    return next((wrong for wrong in found if wrong), None)


def env_problem(names: Sequence[str]) -> str | None:
    """Which variable would have git or the loader run a program; None: none of them."""
    for name in names:
        if _ENV_REFUSED.fullmatch(name) and not _ENV_ALLOWED.fullmatch(name):
            return f"{name}: could have git run a program; not for git commands"
    return None


def settings(args: Sequence[str]) -> tuple[str, ...]:
    """What git is told besides, before the caller's arguments: no program as a transport, and a
    folder of the working tree that looks like a repository is none. A push to a folder would run
    the hooks that lie in it."""
    never = ["ext", "fd", *(["file"] if "push" in args else [])]
    told = ["safe.bareRepository=explicit", *(f"protocol.{name}.allow=never" for name in never)]
    return tuple(word for setting in told for word in ("-c", setting))


def _no_subcommand(name: str) -> str:
    if not name.startswith("-"):
        return f"{name!r}: not among the subcommands of git that can be run here"
    refused = _refused_option(name, "")
    if refused:
        return refused
    why = {"-c": _CONFIG, "-C": _ELSEWHERE}.get(name[:2], "not taken before a subcommand")
    return f"{name!r}: {why}"


def _refused_option(arg: str, name: str) -> str | None:
    if arg.startswith("--"):
        option = arg.partition("=")[0]
        # git takes every unambiguous beginning of an option for it.
        for refused, why in _LONG.items():
            if len(option) > len("--") and refused.startswith(option):
                return f"{arg!r}: {refused} {why}"
    elif arg.startswith("-"):
        for letter, why in _SHORT.get(name, {}).items():
            if letter in arg[1:]:  # among others, as in -qx
                return f"{arg!r}: -{letter} {why}"
    return None


def _refused_value(arg: str, name: str) -> str | None:
    value = arg.partition("=")[2] if arg.startswith("--") else arg
    if value in _VERBS.get(name, ()):
        return f"{arg!r}: {name} {value} runs programs"
    if name in _TAKES_URLS and _HELPER.match(value):
        return f"{arg!r}: a transport that is a program of its own"
    if name in _MAKES_FOLDERS and not _URL.match(value) and _leads_out(value):
        return f"{arg!r}: must lie inside the workspace, as a relative path, and not in .git"
    if name == "mv" and ".git" in value.split("/"):
        # git moves the file first, and finds out then that it tracks nothing there.
        return f"{arg!r}: nothing is moved into .git, where a file can be a hook"
    return None


def _leads_out(path: str) -> bool:
    return path.startswith("/") or not {"..", ".git"}.isdisjoint(path.split("/"))


def _config_problem(given: Sequence[str]) -> str | None:
    """Reading is free; what can be set is a short list."""
    for arg in given:
        if arg.startswith("-") and arg.partition("=")[0] not in _CONFIG_FLAGS:
            return f"{arg!r}: config does not take this here"
    words = [arg for arg in given if not arg.startswith("-")]
    first = words[0] if words else ""
    # `get` and `list` read where they come first; later they are values, as in `core.pager list`.
    reads = first in ("get", "list") or (
        first not in ("set", "unset") and not _READ_OPTIONS.isdisjoint(given)
    )
    plain = [word for word in words if word not in ("set", "unset")]
    if reads or (len(words) == 1 and len(given) == 1):
        return None
    if plain and plain[0].lower() in _HARMLESS_SETTINGS:
        return None
    key = plain[0] if plain else "config"
    return f"{key!r}: {_CONFIG}"


def unattended(protocols: Sequence[str] = PROTOCOLS) -> dict[str, str]:
    """The environment of a git that asks for no password, reads no user's settings, and speaks
    nothing but these."""
    return {
        "GIT_ALLOW_PROTOCOL": ":".join(protocols),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
    }
