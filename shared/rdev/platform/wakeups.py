"""The wake-ups of one machine: a CloudEvent goes to the functions that a Broker's Triggers would
give it to, by its type.

On the runner's socket alone. No public route leads to a function's wake-up, and here none leads
to anything else of theirs.
"""

from collections.abc import Callable, Iterable
from typing import Any

from rdev.domain.wakeups import SWEEP, WAKES

WSGI = Callable[[dict[str, Any], Any], Iterable[bytes]]

WOKEN_BY = {SWEEP: ("webhooks", "runner")} | {kind: (name,) for kind, name in WAKES.items()}


class Wakeups:
    """Requests without a known type go to the runner, as they did before there were others."""

    def __init__(self, functions: dict[str, WSGI]) -> None:
        self._functions = functions

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        names = WOKEN_BY.get(environ.get("HTTP_CE_TYPE", ""), ("runner",))
        if environ.get("PATH_INFO", "/") != "/":
            names = ("runner",)
        *others, last = names
        for name in others:
            self._quietly(name, environ)
        return self._functions[last](environ, start_response)

    def _quietly(self, name: str, environ: dict[str, Any]) -> None:
        """The function answers for itself only in its log: one answer is all that the caller
        gets."""
        answer = self._functions[name]({**environ}, lambda *_: lambda _: None)
        for _ in answer:
            pass
        getattr(answer, "close", lambda: None)()
