"""Fail points and safeguards that can be switched off: for tests/chaos, and nothing else.

`RDEV_FAIL_POINTS="claim.after=0.1,finish.*=0.02"` has the process that reaches such a point end
itself there with SIGKILL, by that probability; `stop:` before a name has it stop itself
(SIGSTOP) instead, once a name, as if its machine had frozen, and `raise:` has it meet an error
there that nobody foresaw. Unset, a point costs one look at an empty tuple.

`RDEV_UNSAFE="start_token,epoch,append"` turns single safeguards off, to show that the chaos
suite's checks bite. Refused without RDEV_CHAOS=1.
"""

import os
import random
import signal
from dataclasses import dataclass
from fnmatch import fnmatchcase

SAFEGUARDS = ("start_token", "epoch", "append")


_ACTIONS = {"": signal.SIGKILL, "stop": signal.SIGSTOP, "raise": None}


class UnforeseenError(Exception):
    """What a fail point raises: no error of rdev's, as a bug's would be."""


@dataclass(frozen=True, slots=True)
class _Point:
    pattern: str
    probability: float
    action: signal.Signals | None
    """None: raise."""


def reach(name: str) -> None:
    """Say that the process has come to this point."""
    if not _POINTS:
        return
    for point in _POINTS:
        if fnmatchcase(name, point.pattern) and random.random() < point.probability:  # noqa: S311 - no secret
            _act(name, point.action)


def _act(name: str, action: signal.Signals | None) -> None:
    if action == signal.SIGSTOP:
        if name in _SLEPT_AT:
            return
        _SLEPT_AT.add(name)
    _note(name)
    if action is None:
        raise UnforeseenError(name)
    # To this thread: by the process's pid another thread might take the signal, and this one go
    # on past the point for a moment. Not by its ident, which under gevent is a greenlet's.
    signal.raise_signal(action)


def without(safeguard: str) -> bool:
    """Whether a test has turned this safeguard off."""
    return safeguard in _UNSAFE


def _points(text: str) -> tuple[_Point, ...]:
    points = []
    for part in filter(None, text.split(",")):
        pattern, _, probability = part.partition("=")
        how, _, name = pattern.rpartition(":")
        points.append(_Point(name, float(probability or 1), _ACTIONS[how]))
    return tuple(points)


def _unsafe(text: str) -> frozenset[str]:
    asked = frozenset(filter(None, text.split(",")))
    if asked and os.environ.get("RDEV_CHAOS") != "1":
        raise RuntimeError("RDEV_UNSAFE is for tests/chaos alone. Unset it.")
    if unknown := asked - set(SAFEGUARDS):
        raise RuntimeError(f"RDEV_UNSAFE: no such safeguard: {', '.join(sorted(unknown))}")
    return asked


def _note(name: str) -> None:
    """One line for whoever counts the faults; the kernel keeps it although we die."""
    path = os.environ.get("RDEV_FAIL_LOG")
    if path:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, f"{os.getpid()} {name}\n".encode())
        os.close(fd)


_POINTS = _points(os.environ.get("RDEV_FAIL_POINTS", ""))
_SLEPT_AT: set[str] = set()
_UNSAFE = _unsafe(os.environ.get("RDEV_UNSAFE", ""))
