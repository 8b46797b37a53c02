"""Whether what a process needs answers, without asking it more often for being asked more often.

However many probes come: of each dependency there is one look at a time, its outcome is shared for
a moment, and no probe waits for one longer than its limit. A look that hangs keeps one thread, and
is waited for no more until it is over.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rdev.errors import RdevError

LOOK_S = 1.0
"""No probe waits longer for a dependency."""
_FRESH_S = 1.0
"""For so long an outcome is shared."""


class Look:
    """`ask` raises an RdevError where the dependency does not answer; its message is the reason.
    It should end by itself in about `limit_s`."""

    def __init__(
        self, ask: Callable[[], None], *, limit_s: float = LOOK_S, fresh_s: float = _FRESH_S
    ) -> None:
        self._ask = ask
        self._limit_s = limit_s
        self._fresh_s = fresh_s
        self._changed = threading.Condition()
        self._began_at: float | None = None
        self._ended_at: float | None = None
        self._reason: str | None = None

    def begin(self) -> None:
        """Look, unless somebody does, or did a moment ago. Returns at once."""
        with self._changed:
            now = time.monotonic()
            fresh = self._ended_at is not None and now - self._ended_at < self._fresh_s
            if self._began_at is not None or fresh:
                return
            self._began_at = now
        threading.Thread(target=self._look, name="readiness", daemon=True).start()

    def reason(self) -> str | None:
        """Why it is not available; None: it is. Waits for a look that has just begun."""
        with self._changed:
            while self._began_at is not None:
                age_s = time.monotonic() - self._began_at
                if age_s >= self._limit_s:
                    return f"It has not answered for {age_s:.0f} s."
                self._changed.wait(self._limit_s - age_s)
            return self._reason

    def _look(self) -> None:
        reason: str | None = "rdev could not ask."
        try:
            self._ask()
            reason = None
        except RdevError as exc:
            reason = exc.message
        except Exception as exc:  # noqa: BLE001 - whatever it is, this is not available
            reason = f"rdev could not ask ({type(exc).__name__})."
        finally:
            with self._changed:
                self._reason = reason
                self._began_at, self._ended_at = None, time.monotonic()
                self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Dependency:
    """`needed`: without it, requests cannot be served. `breaker` tells how its circuit breaker
    stands, where it has one."""

    look: Look
    needed: bool = True
    breaker: Callable[[], str] | None = None


def readiness(dependencies: Mapping[str, Dependency]) -> tuple[str, dict[str, dict[str, str]]]:
    """`ok`, `degraded` (what does not answer is not needed) or `unavailable`; and each."""
    for each in dependencies.values():
        each.look.begin()
    checks = {name: _checked(each) for name, each in dependencies.items()}
    missing = [name for name, check in checks.items() if check["status"] != "ok"]
    if any(dependencies[name].needed for name in missing):
        return "unavailable", checks
    return "degraded" if missing else "ok", checks


def _checked(dependency: Dependency) -> dict[str, str]:
    reason = dependency.look.reason()
    check = {"status": "ok"} if reason is None else {"status": "unavailable", "reason": reason}
    if dependency.breaker is not None:
        check["breaker"] = dependency.breaker()
    return check
