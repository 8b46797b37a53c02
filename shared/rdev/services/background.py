"""Threads that go on until a runner stops, whatever happens in them."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

_PAUSE_S = 1.0


class Background:
    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping

    def run(self, *loops: Callable[[], None]) -> None:
        """Each in a daemon thread of its own, named like it."""
        for loop in loops:
            name = loop.__name__.strip("_")
            threading.Thread(target=self._for_ever, args=(loop,), name=name, daemon=True).start()

    def _for_ever(self, loop: Callable[[], None]) -> None:
        """A thread that ended would not be missed by anybody until it is too late."""
        while not self._stopping.is_set():
            try:
                loop()
            except Exception:
                log.exception("began anew")
                self._stopping.wait(_PAUSE_S)
