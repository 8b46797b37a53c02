"""Reading a stored stream for one reader, up to where the hub's channel can take over."""

import math
import time
from collections.abc import Callable
from typing import Protocol

from rdev.domain.events import FINISHED, GAP, START, Entry, EntryId, Tail, finished_id, gap, render
from rdev.domain.following import Follower, missing
from rdev.ports import metrics
from rdev.services.ends import Ended
from rdev.services.frames import Encode
from rdev.services.hub import Hub
from rdev.services.stored import Stored

PAGE_BYTES = 128 * 1024
"""About how much one reader reads at a time: a thousand of them may read at once."""
_NOTICES = 64


class History(Protocol):
    """One reader's way through the stored stream."""

    @property
    def seen(self) -> EntryId: ...

    @property
    def ended(self) -> bool: ...

    @property
    def in_step(self) -> bool:
        """The reader stands exactly at an entry, so that a channel's events fit on."""

    def read(self) -> tuple[list[bytes], bool]:
        """Encoded events not seen before, and whether there is (for now) nothing beyond them.
        Raises StoreUnavailable; then nothing was passed."""

    def jump(self, seen: EntryId, *, ended: bool) -> None:
        """The reader got everything up to `seen` from the channel."""


class CommandHistory:
    """A command's stream, resumed from any id: each byte once, and gaps told."""

    def __init__(
        self,
        stored: Stored,
        encode: Encode,
        place: tuple[str, str],
        seen: EntryId,
        *,
        ended: Ended | None = None,
        breaks: Callable[[], int] = lambda: 0,
        again_s: float = 20.0,
    ) -> None:
        """`breaks`: how often Redis may have come back with less than it had. `again_s`: after how
        long the record is asked again, then four times as long, and so on."""
        self._stored = stored
        self._encode = encode
        self._project_id, command_id = place
        self._follower = Follower(command_id, seen)
        self._record = ended
        self._breaks = breaks
        self._believed_at: int | None = None
        self._first_s = self._pause_s = again_s
        self._ask_at = math.inf
        self._count = 4
        self.ended = False

    @property
    def seen(self) -> EntryId:
        return self._follower.seen

    @property
    def in_step(self) -> bool:
        return self._follower.in_step and time.monotonic() < self._ask_at

    def read(self) -> tuple[list[bytes], bool]:
        page, tail = self._page()
        end: list[bytes] = []
        if tail is not None and not tail.finished:
            end = self._end_without_redis(tail)
        if end:  # it may have gone into the archive after we had looked there
            page, tail = self._page()
        if tail is None:
            self._adapt(sum(len(entry.data) for entry in page) // len(page))
            events = self._follower.take(page)
            if gaps := sum(event.type == GAP for event in events):
                metrics.STREAM_GAPS.add("command", "trimmed", by=gaps)
            self.ended = self._follower.ended
            return [self._frame(event) for event in events], False
        if end and tail.last_id == START:
            self.ended = True
            return end, False
        return [], self._follower.exhausted(tail)

    def _page(self) -> tuple[list[Entry], Tail | None]:
        follower = self._follower
        return self._stored.read(
            self._project_id, follower.command_id, follower.read_after, count=self._count
        )

    def jump(self, seen: EntryId, *, ended: bool) -> None:
        self._follower.jump(seen)
        self.ended = ended

    def _adapt(self, entry_bytes: int) -> None:
        self._count = max(4, min(512, PAGE_BYTES // max(1, entry_bytes)))

    def _end_without_redis(self, tail: Tail) -> list[bytes]:
        """The end that Redis does not hold. Of a stream which goes on there the record is asked
        once, and again whenever Redis may have come back with a part of it alone. And some times
        later: what has ended may not have been noted as archived by then, or nobody answered."""
        breaks, now = self._breaks(), time.monotonic()
        anew = breaks != self._believed_at
        if not (anew or tail.last_id == START or now >= self._ask_at):
            return []
        self._believed_at = breaks
        self._pause_s = self._first_s if anew else 4 * self._pause_s
        self._ask_at = now + self._pause_s
        return self._end_on_record()

    def _end_on_record(self) -> list[bytes]:
        """The end as the record tells it, if it has ended and all of it is archived."""
        command_id = self._follower.command_id
        record = self._record and self._record(self._project_id, command_id)
        if not record:
            return []
        self._stored.drop_remnant(self._project_id, command_id)
        why = "expired" if record.expired else "lost"
        hole = missing(self.seen, record.totals, command_id, why)
        if hole is not None:
            metrics.STREAM_GAPS.add("command", why)
        finished = Entry(finished_id(record.totals), FINISHED, record.finished)
        return [self._frame(event) for event in (hole, finished) if event is not None]

    def _frame(self, event: Entry) -> bytes:
        return self._encode(event.id, event.type, render(event, self._follower.command_id))


class ProjectHistory:
    """A project's stream; the ids are Redis's own, each entry naming the one before it."""

    def __init__(self, hub: Hub, stored: Stored, project_id: str, seen: EntryId) -> None:
        self._hub = hub
        self._stored = stored
        self._encode = hub.encode
        self._project_id = project_id
        self.seen = seen
        self.ended = False

    @property
    def in_step(self) -> bool:
        return True

    def read(self) -> tuple[list[bytes], bool]:
        notices = self._hub.feed.history(self._project_id, self.seen, count=_NOTICES)
        if not notices:
            latest = self._hub.feed.latest([self._project_id])[self._project_id]
            if latest >= self.seen:
                return [], latest == self.seen
            # Redis lost the last of what this reader has seen: up to there it has seen everything.
            return [self._gap(latest)], False
        frames = self._hub.frames.of(self._project_id, notices, elsewhere=self._stored.look_up)
        before = notices[0].previous
        if self.seen not in (before, START):  # from 0: from what is kept
            frames.insert(0, self._gap(before))
        self.seen = notices[-1].id
        return frames, False

    def _gap(self, until: EntryId) -> bytes:
        why = "trimmed" if until > self.seen else "lost"
        metrics.STREAM_GAPS.add("project", why)
        hole = gap("", self.seen, until, why)
        self.seen = until
        return self._encode(hole.id, GAP, hole.data)

    def jump(self, seen: EntryId, *, ended: bool) -> None:
        self.seen, self.ended = seen, ended
