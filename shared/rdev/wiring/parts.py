"""Each part is built at its first use and once a process: functions-framework imports a function
before its server forks, so nothing may open at import."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

T = TypeVar("T")

_lock = threading.RLock()
_made: dict[str, object] = {}


def once(make: Callable[[], T]) -> Callable[[], T]:
    """One of it a process, also when two threads ask at the same time."""

    def get() -> T:
        name = make.__name__
        if name not in _made:
            with _lock:
                if name not in _made:
                    _made[name] = make()
        return _made[name]  # type: ignore[return-value] # put there under this name just above

    get.__name__ = make.__name__
    return get


def made(get: Callable[[], T]) -> T | None:
    """The part that `get` gives, if this process has it already."""
    return _made.get(get.__name__)  # type: ignore[return-value] # `once` put it there


def now() -> datetime:
    return datetime.now(UTC)


def later(delay_s: float, act: Callable[[], None]) -> None:
    timer = threading.Timer(delay_s, act)
    timer.daemon = True
    timer.start()
