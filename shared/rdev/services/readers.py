"""One client's way along a stream: history from Redis first, then live from the hub's channel.

It pulls. However slow its client, nothing piles up for it: who is within the channel's ring
shares its bytes, who is further behind reads pages from Redis, and nobody skips anything.
"""

import time
from collections import deque
from types import TracebackType

from rdev.errors import StoreUnavailable
from rdev.ports import metrics
from rdev.services.channels import CHUNK_BYTES, Bell, Shared
from rdev.services.history import History
from rdev.services.hub import Hub

_RETRY_S = 2.0
"""How long to wait before asking a Redis again that did not answer. The hub, once it is through
again, rings earlier."""


class Reader:
    """An open stream of encoded events. Close it, or use it as a context manager."""

    def __init__(self, hub: Hub, history: History, project_id: str, command_id: str | None) -> None:
        self._hub = hub
        self._history = history
        self._place = (project_id, command_id)
        self._bell = Bell()
        self._woken = False
        self._frames: deque[bytes] = deque()
        self._channel = hub.join(project_id, command_id, self._bell)
        self._of = "project" if command_id is None else "command"
        self._closed = False
        metrics.STREAM_SUBSCRIBERS.add(self._of)

    @property
    def ended(self) -> bool:
        """command.finished was given out: there will be nothing more."""
        return self._history.ended and not self._frames

    def next(self, timeout_s: float) -> bytes | None:
        """The next events, joined; None if none came in time, the stream has ended, or `wake`
        was called. While Redis does not answer there are none."""
        deadline = time.monotonic() + timeout_s
        while True:
            pause_s = deadline - time.monotonic()
            try:
                found = self._look()
            except StoreUnavailable:
                found, pause_s = None, min(pause_s, _RETRY_S)
            if found or self.ended or self._woken or time.monotonic() >= deadline:
                self._woken = False
                metrics.STREAM_BYTES.add(self._of, by=len(found or b""))
                return found
            self._bell.wait(pause_s)

    def wake(self) -> None:
        """Have `next` return early."""
        self._woken = True
        self._bell.ring()

    def close(self) -> None:
        """Be no reader any more. Twice is no error."""
        self._hub.leave(*self._place, self._bell)
        if not self._closed:
            self._closed = True
            metrics.STREAM_SUBSCRIBERS.add(self._of, by=-1)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _look(self) -> bytes | None:
        """What there is now; None: nothing, and the bell will ring when there is."""
        while not (self._frames or self._history.ended):
            with self._hub.lock:
                mark = self._channel.stirred
                shared = self._from_channel()
            if shared is None:
                frames, exhausted = self._history.read()
                self._frames.extend(frames)
                if not exhausted:
                    continue
                with self._hub.lock:
                    if not self._nothing_since(mark):
                        continue
                    shared = self._from_channel()
            return self._pass(shared) if shared else None
        return self._take_frames()

    def _from_channel(self) -> Shared | None:
        return self._channel.after(self._history.seen) if self._history.in_step else None

    def _nothing_since(self, mark: int) -> bool:
        if self._history.in_step:
            return self._channel.begin(self._history.seen, mark)
        return self._channel.stirred == mark

    def _pass(self, shared: Shared) -> bytes | None:
        if shared.data:
            self._history.jump(shared.seen, ended=shared.ended)
        return shared.data or None

    def _take_frames(self) -> bytes | None:
        taken, size = [], 0
        while self._frames and size < CHUNK_BYTES:
            taken.append(self._frames.popleft())
            size += len(taken[-1])
        return b"".join(taken) or None
