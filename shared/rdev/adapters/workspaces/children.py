"""Starting supervisors, and reaping those that are this process's children.

Nothing depends on being a supervisor's parent: it outlives us, and is init's then.
"""

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from rdev.adapters.workspaces.dispatcher import Dispatcher

_LAST_REAP_S = 0.2
"""In all, at the close, for those that are just ending."""


class Children:
    """The supervisors that this process started and that have not ended yet."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._lock = threading.Lock()
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def spawn(self, argv: Sequence[str], *, path: str, log: Path) -> None:
        """Start one in a session of its own, with PATH for its whole environment."""
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # No preexec_fn: it forbids vfork and costs milliseconds.
            child = subprocess.Popen(  # noqa: S603 - our own script; no shell parses a value
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=fd,
                cwd="/",
                env={"PATH": path},
                start_new_session=True,
            )
        finally:
            os.close(fd)
        # Begun: from here on nothing may look as if it had not.
        if not self._reap_later(child):
            threading.Thread(target=child.wait, name=f"reap-{child.pid}", daemon=True).start()

    def close(self) -> None:
        """Let go of those that still run; they go on. Call after the dispatcher's close."""
        deadline = time.monotonic() + _LAST_REAP_S
        with self._lock:
            for pidfd, child in self._running.items():
                os.close(pidfd)
                try:
                    child.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    child.returncode = 0  # it is meant to outlive us: no ResourceWarning
            self._running.clear()

    def _reap_later(self, child: "subprocess.Popen[bytes]") -> bool:
        """False before Linux 5.3, where it is forbidden, and without free descriptors."""
        try:
            pidfd = os.pidfd_open(child.pid)
        except OSError:
            return False
        with self._lock:
            self._running[pidfd] = child
        try:
            self._dispatcher.add(pidfd, lambda: self._reap(pidfd))
        except OSError:
            with self._lock:
                del self._running[pidfd]
            os.close(pidfd)
            return False
        return True

    def _reap(self, pidfd: int) -> None:
        with self._lock:
            child = self._running.pop(pidfd, None)
        if child is not None:
            child.wait()
            self._dispatcher.remove(pidfd)
            os.close(pidfd)
