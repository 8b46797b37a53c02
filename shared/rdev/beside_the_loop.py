"""Blocking calls in processes that gevent has patched, where they would hold up every greenlet."""

import sys
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def is_patched() -> bool:
    patched = sys.modules.get("gevent.monkey")
    return patched is not None and bool(patched.is_module_patched("threading"))


def beside_the_loop(act: Callable[[], T], limit_s: float) -> T:
    """Under gevent a blocking call holds up every greenlet: then it runs in a real thread."""
    return in_real_thread(act, limit_s) if is_patched() else act()


def in_real_thread(act: Callable[[], T], limit_s: float) -> T:
    """Where it is patched. Raises TimeoutError; then the call goes on in its thread."""
    import gevent

    def outcome() -> tuple[T | None, Exception | None]:
        # Caught there: the pool prints what is raised in it.
        try:
            return act(), None
        except Exception as exc:  # noqa: BLE001 - raised again below
            return None, exc

    try:
        result, error = gevent.get_hub().threadpool.spawn(outcome).get(timeout=limit_s)
    except gevent.Timeout as exc:
        raise TimeoutError from exc
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return] # gevent has no types
