"""Filling a new workspace from a git repository."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rdev.adapters.workspaces.launch_file import DEFAULT_PATH
from rdev.domain.git_arguments import unattended
from rdev.errors import InvalidRequest, WorkspaceUnavailable
from rdev.on_disk import put_on_disk

_LEAST_S = 5.0
"""For the disk, where the clone took almost all the time there is."""
_KILLED_S = 1.0


def clone(url: str, into: Path, *, protocols: Sequence[str], timeout_s: float) -> None:
    """Clone `url` into the folder `into`, which must not exist. Never asks for a password, and
    speaks no protocol but those (`ext::` would run a program of the URL's choice).

    Raises InvalidRequest where git refuses, WorkspaceUnavailable where it cannot be run or
    takes too long. `into` may be left half filled."""
    if "\0" in url or not url or url.startswith("-"):
        raise InvalidRequest.field("git_url", "not a URL that git can clone")
    deadline = time.monotonic() + timeout_s
    words = ["clone", "--quiet", "--", url, os.fspath(into)]
    status, errors = _run_git(words, protocols, timeout_s)
    if status != 0:
        # A URL may carry a password, and the message goes to the log.
        said = errors.decode(errors="replace").replace(url, "<git_url>").strip()
        last = said.splitlines()[-1] if said else f"git clone exited with {status}"
        raise InvalidRequest.field("git_url", last[:300])
    # A power cut would leave a repository of empty files, and git tells nobody.
    left_s = max(_LEAST_S, deadline - time.monotonic())
    put_on_disk(into, limit_s=left_s, path=DEFAULT_PATH)


def _run_git(words: Sequence[str], protocols: Sequence[str], timeout_s: float) -> tuple[int, bytes]:
    """Its exit status and what it wrote to stderr. What it started is ended with it."""
    try:
        process = subprocess.Popen(  # noqa: S603 - argv only; the URL comes after `--`
            ["git", *words],  # noqa: S607
            env={"PATH": DEFAULT_PATH, "LANG": "C.UTF-8", **unattended(protocols)},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError as exc:
        raise WorkspaceUnavailable("git is not installed; install it") from exc
    try:
        _, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as exc:
        raise WorkspaceUnavailable(f"git clone took longer than {timeout_s:g} s") from exc
    finally:
        if process.returncode is None:
            _kill(process)
    return process.returncode, errors


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """It and those that it started, of which one would wait for a silent server for ever."""
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):  # what is stuck in the kernel stays there
        process.wait(_KILLED_S)
    if process.stderr is not None:
        process.stderr.close()
