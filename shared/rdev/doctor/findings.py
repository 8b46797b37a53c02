"""Checks, one after the other, each bounded in time, and what they find."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from rdev.domain.redaction import MASK, redact

LIMIT_S = 15.0
"""No check takes longer. Each asks with shorter limits of its own."""
_SHORTEST_SECRET = 6
_ELSE = "Begin with the other findings; if there are none, the logs of that minute say more."


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """`todo`: what to do about it, where there is something to do."""

    where: str
    check: str
    level: Level
    found: str
    todo: str = ""

    def without(self, secrets: Iterable[str]) -> "Finding":
        return replace(self, found=_hidden(self.found, secrets), todo=_hidden(self.todo, secrets))


class Trouble(Exception):
    """What a check found that is wrong, and what to do."""

    def __init__(self, found: str, todo: str = "", *, level: Level = Level.FAIL) -> None:
        super().__init__(found)
        self.found, self.todo, self.level = found, todo, level


@dataclass(frozen=True, slots=True)
class Check:
    """`look` gives what it found, or raises Trouble. It is left out where one of `needs` failed."""

    name: str
    look: Callable[[], str]
    needs: tuple[str, ...] = ()


def examine(where: str, checks: Sequence[Check], secrets: Iterable[str] = ()) -> Iterator[Finding]:
    """The finding of each check, as it is made. Raises nothing and ends in bounded time."""
    hidden = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
    broken: set[str] = set()
    for check in checks:
        missing = next((need for need in check.needs if need in broken), None)
        if missing is not None:
            finding = Finding(where, check.name, Level.SKIPPED, f"not asked: see {missing}")
        else:
            finding = _bounded(where, check)
        if finding.level in (Level.FAIL, Level.SKIPPED):
            broken.add(check.name)
        yield finding.without(hidden)


def _bounded(where: str, check: Check) -> Finding:
    made: list[Finding] = []
    # A thread that is left behind where it hangs: it must not hold up the rest, nor the exit.
    thread = threading.Thread(target=lambda: made.append(_made(where, check)), daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    if made:
        return made[0]
    return Finding(
        where,
        check.name,
        Level.FAIL,
        f"no answer within {LIMIT_S:g} s",
        "It accepts connections, or swallows them, and says nothing: look at its process, at its "
        "disk, and at firewalls on the way.",
    )


def _made(where: str, check: Check) -> Finding:
    try:
        return Finding(where, check.name, Level.OK, check.look())
    except Trouble as trouble:
        todo = trouble.todo or (_ELSE if trouble.level is Level.FAIL else "")
        return Finding(where, check.name, trouble.level, trouble.found, todo)
    except Exception as exc:  # noqa: BLE001 - a check that fails is a finding, not an end
        said = str(exc).strip().splitlines()
        why = f"{type(exc).__name__}: {said[0]}" if said else type(exc).__name__
        return Finding(where, check.name, Level.FAIL, f"could not be asked: {why}", _ELSE)


def _hidden(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return redact(text)


def skewed(whose: str, skew_s: float) -> str:
    """What to say of a clock that differs so much from this machine's. Raises Trouble."""
    found = f"{whose} clock is {abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} ours"
    todo = (
        "Have both machines keep their time by NTP (`timedatectl`): expiries, the signatures of "
        "webhooks and the times in records go by it."
    )
    if abs(skew_s) > _SKEW_FAILS_S:
        raise Trouble(found, todo)
    if abs(skew_s) > _SKEW_WARNS_S:
        raise Trouble(found, todo, level=Level.WARN)
    return f"{whose} clock agrees with ours within {max(1.0, abs(skew_s)):.0f} s"


_SKEW_WARNS_S = 3.0
_SKEW_FAILS_S = 30.0
