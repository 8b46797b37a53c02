"""What one process shares between the readers of one stream: the latest events, encoded once."""

import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from rdev.domain.events import EntryId

RING_BYTES = 1024 * 1024
"""How much a channel keeps. Who is further behind reads from Redis."""
CHUNK_BYTES = 64 * 1024
"""About how much one write to a client carries: a deadline per write is a minimum rate."""


class Bell:
    """Wakes one waiter. Rung before the wait, it is heard too; rung twice, heard once."""

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        try:
            self._silence.release()
        except RuntimeError:  # already ringing
            return

    def wait(self, timeout_s: float) -> bool:
        """False: the timeout came first."""
        return self._silence.acquire(timeout=max(0.0, timeout_s))


@dataclass(frozen=True, slots=True)
class Shared:
    """Encoded events for a reader, and the id it has seen with them. Empty: nothing new."""

    data: bytes
    seen: EntryId
    ended: bool = False


class Channel:
    """The newest events of one stream, for readers who are in step with it.

    Cold (`tail` is None) until a reader who has read everything from Redis says where it
    stands; from then on the hub extends it. Guarded by the hub's lock, except for the bells."""

    def __init__(self) -> None:
        self.bells: set[Bell] = set()
        self.tail: EntryId | None = None
        self.stirred = 0
        """Grows whenever the stream may have changed: a reader that finds the count it noted
        before reading Redis has missed nothing."""
        self._floor: EntryId | None = None
        self._ids: list[EntryId] = []
        self._frames: list[bytes] = []
        self._bytes = 0
        self._ended_at: EntryId | None = None
        self._joined: dict[EntryId, Shared] = {}

    def begin(self, at: EntryId, mark: int) -> bool:
        """A reader has seen everything up to `at`. False if the stream stirred since `mark`."""
        if self.stirred != mark:
            return False
        if self.tail is None:
            self.tail = self._floor = at
        return True

    def extend(self, ids: Sequence[EntryId], frames: Sequence[bytes], *, ended: bool) -> None:
        """Add what directly follows the tail."""
        self._ids += ids
        self._frames += frames
        self._bytes += sum(map(len, frames))
        self.tail = self._ids[-1]
        if ended:
            self._ended_at = self.tail
        self._joined.clear()
        if self._bytes > 2 * RING_BYTES:  # rarely and much at a time: lists shift
            self._evict()

    def cool(self) -> None:
        """The stream is not what it was, or may not be: let every reader look in Redis."""
        self.tail = self._floor = None
        self._ids, self._frames, self._bytes = [], [], 0
        self._joined.clear()
        self.stirred += 1

    def after(self, seen: EntryId) -> Shared | None:
        """What a reader in step has not seen, up to a chunk. None: it must read from Redis."""
        if self.tail is None:
            return None
        if seen >= self.tail:  # ahead of us, if it has just come from Redis
            return Shared(b"", seen)
        found = self._joined.get(seen)
        if found is None:
            found = self._join(seen)
            if found is not None:
                self._joined[seen] = found
        return found

    def _join(self, seen: EntryId) -> Shared | None:
        first = bisect_right(self._ids, seen)
        known = self._floor if first == 0 else self._ids[first - 1]
        if known != seen:
            return None
        last, size = first, 0
        while last < len(self._frames) and size < CHUNK_BYTES:
            size += len(self._frames[last])
            last += 1
        upto = self._ids[last - 1]
        return Shared(b"".join(self._frames[first:last]), upto, upto == self._ended_at)

    def _evict(self) -> None:
        drop = 0
        while self._bytes > RING_BYTES:
            self._bytes -= len(self._frames[drop])
            drop += 1
        self._floor = self._ids[drop - 1]
        del self._ids[:drop], self._frames[:drop]
