"""A step that may take long, such as the removal of a huge folder, and is to hold up nobody."""

import threading
import time
from collections.abc import Callable

from rdev.errors import WorkspaceUnavailable

_WAIT_S = 5.0
_LONG_S = 600.0


class Aside:
    """Does `step` in a thread of its own. Whoever calls this waits for it for a moment, and goes on
    without it. Called again meanwhile it is not begun twice. Raises what it raised, if need be with
    the next call, and WorkspaceUnavailable where it takes longer than `long_s`."""

    def __init__(
        self, step: Callable[[], None], *, wait_s: float = _WAIT_S, long_s: float = _LONG_S
    ) -> None:
        self._step = step
        self._wait_s, self._long_s = wait_s, long_s
        self._began = 0.0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def __call__(self) -> None:
        with self._lock:
            thread = self._thread
            if thread is None or not thread.is_alive():
                thread = threading.Thread(target=self._run, name="aside", daemon=True)
                thread.start()
                self._thread, self._began = thread, time.monotonic()
        thread.join(self._wait_s)
        with self._lock:
            error, self._error = self._error, None
        if error is not None:
            raise error
        if thread.is_alive() and time.monotonic() - self._began > self._long_s:
            raise WorkspaceUnavailable(
                "What is left of projects has been being removed for more than "
                f"{self._long_s / 60:.0f} minutes: look whether the disk of the workspaces answers."
            )

    def _run(self) -> None:
        try:
            self._step()
        except Exception as exc:  # noqa: BLE001 - raised again by who waits
            self._error = exc
