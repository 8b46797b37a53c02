"""A step that may take long, such as the removal of a huge folder, and is to hold up nobody."""

import threading
from collections.abc import Callable

_WAIT_S = 5.0


class Aside:
    """Does `step` in a thread of its own. Whoever calls this waits for it for a moment, and goes on
    without it. Called again meanwhile it is not begun twice. Raises what it raised, if need be with
    the next call."""

    def __init__(self, step: Callable[[], None], *, wait_s: float = _WAIT_S) -> None:
        self._step = step
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def __call__(self) -> None:
        with self._lock:
            thread = self._thread
            if thread is None or not thread.is_alive():
                thread = threading.Thread(target=self._run, name="aside", daemon=True)
                thread.start()
                self._thread = thread
        thread.join(self._wait_s)
        with self._lock:
            error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        try:
            self._step()
        except Exception as exc:  # noqa: BLE001 - raised again by who waits
            self._error = exc
