"""Blocking calls in processes that gevent has patched, where they would hold up every greenlet."""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

_THREADS = 10


def is_patched() -> bool:
    patched = sys.modules.get("gevent.monkey")
    return patched is not None and bool(patched.is_module_patched("threading"))


def beside_the_loop(act: Callable[[], T], limit_s: float) -> T:
    """Under gevent `act` runs in a real thread, of which there are ten. Raises TimeoutError where
    it is not done in time, also for want of a thread; it goes on, or may even begin then."""
    return _in_real_thread(act, limit_s) if is_patched() else act()


def _in_real_thread(act: Callable[[], T], limit_s: float) -> T:
    import gevent

    def outcome() -> tuple[T | None, Exception | None]:
        # Caught there: the pool prints what is raised in it.
        try:
            return act(), None
        except Exception as exc:  # noqa: BLE001 - raised again below
            return None, exc

    limit = gevent.Timeout(limit_s)
    try:
        with limit:
            result, error = _threads().spawn(outcome).get()
    except gevent.Timeout as exc:
        if exc is not limit:
            raise
        raise TimeoutError from exc
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return] # gevent has no types


@cache
def _threads() -> Any:
    """Apart from gevent's own, in which names are looked up: what hangs here must not stop that."""
    import gevent
    from gevent.threadpool import ThreadPool

    return ThreadPool(_THREADS, hub=gevent.get_hub())
