"""Every function of the public API on one port, by the table of routes."""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from rdev.config import SOURCE_ROOT
from rdev.http.routes import FUNCTIONS, ROUTES

WSGI = Callable[[dict[str, Any], Any], Iterable[bytes]]


def load_function(noun: str, root: Path = SOURCE_ROOT) -> WSGI:
    """The function as functions-framework serves it."""
    # Before anything else imports redis-py, and while there is one thread: see there.
    import functions_framework

    import rdev.adapters.redis  # noqa: F401

    source = str(root / "functions" / noun / "main.py")
    app: WSGI = functions_framework.create_app(noun, source)  # type: ignore[no-untyped-call]
    return app


class Gateway:
    def __init__(self, apps: dict[str, WSGI]) -> None:
        self._apps = [apps[route.function] for route in ROUTES]
        # One group for each route, and the first that matches. DOTALL: a path may hold a newline,
        # and each must lead somewhere.
        self._routes = re.compile("|".join(f"({route.regex()})" for route in ROUTES), re.DOTALL)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        found = self._routes.fullmatch(environ.get("PATH_INFO") or "/")
        # What is no path at all, such as the `*` of OPTIONS, goes where no rule matches.
        app = self._apps[-1 if found is None or found.lastindex is None else found.lastindex - 1]
        return app(environ, start_response)


@lru_cache(maxsize=1)
def application() -> WSGI:
    """The gateway over all functions, loaded once a process."""
    return Gateway({noun: load_function(noun) for noun in FUNCTIONS})
