"""One Redis reader for all of a process's event streams.

It blocks on the projects that have readers here, reads each output once, encodes it once, and
lays it into the channels' rings; readers pull from there at their own pace. Started with the
first reader, so after any fork; under gevent its thread is a greenlet.
"""

import logging
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rdev.domain.events import FINISHED, Entry, EntryId, Notice, position_of, render
from rdev.errors import StoreUnavailable
from rdev.ports import ProjectFeed
from rdev.services.channels import Bell, Channel
from rdev.services.frames import PAGE, Encode, Frames

log = logging.getLogger(__name__)

TICK_S = 5.0
"""How often it looks for what no notice told of: the bound on how long that stays unseen."""
_MAX_BACKOFF_S = 1.0


@dataclass(slots=True)
class _Watch:
    """A project that has readers here. Notices up to `read_to` have been dealt with."""

    read_to: EntryId
    channel: Channel | None = None
    commands: dict[str, Channel] = field(default_factory=dict)
    waiting: dict[str, set[Bell]] = field(default_factory=dict)
    """Who waits for a command's end without wanting its output."""

    def channels(self) -> list[Channel]:
        return [*self.commands.values(), *([self.channel] if self.channel else [])]

    @property
    def unused(self) -> bool:
        return not (self.channel or self.commands or self.waiting)


class Hub:
    """Keeps the channels of this process. Its public methods may be called by any thread."""

    def __init__(self, feed: ProjectFeed, encode: Encode, *, tick_s: float = TICK_S) -> None:
        self.feed = feed
        self.encode = encode
        self.frames = Frames(feed, encode)
        self.lock = threading.Lock()
        self._watches: dict[str, _Watch] = {}
        self.tick_s = tick_s
        self._thread: threading.Thread | None = None
        self._stopped = False
        self.breaks = 0
        """How often a project's stream did not go on where it was read to: Redis may have come
        back with less than it had."""
        self._was_down = False
        self._ticked = 0.0

    def join(self, project_id: str, command_id: str | None, bell: Bell) -> Channel:
        """Become a reader of a command's stream, or of the project's (None). From the return on
        every change rings the bell. Raises StoreUnavailable."""
        watch = self._watch(project_id)
        with self.lock:
            self._watches[project_id] = watch = self._watches.get(project_id, watch)
            if command_id is None:
                channel = watch.channel = watch.channel or Channel()
            else:
                channel = watch.commands.setdefault(command_id, Channel())
            channel.bells.add(bell)
        return channel

    def leave(self, project_id: str, command_id: str | None, bell: Bell) -> None:
        """Be no reader any more. Twice is no error."""
        with self.lock:
            watch = self._watches.get(project_id)
            channel = watch and (watch.commands.get(command_id) if command_id else watch.channel)
            if not watch or not channel:
                return
            channel.bells.discard(bell)
            if not channel.bells:
                if command_id:
                    del watch.commands[command_id]
                else:
                    watch.channel = None
            self._drop_unused(project_id, watch)

    def await_end(self, project_id: str, command_id: str, bell: Bell) -> None:
        """Have the bell rung when the command's end is announced, or may have been."""
        watch = self._watch(project_id)
        with self.lock:
            watch = self._watches.setdefault(project_id, watch)
            watch.waiting.setdefault(command_id, set()).add(bell)

    def forgo_end(self, project_id: str, command_id: str, bell: Bell) -> None:
        with self.lock:
            watch = self._watches.get(project_id)
            if watch is None or command_id not in watch.waiting:
                return
            watch.waiting[command_id].discard(bell)
            if not watch.waiting[command_id]:
                del watch.waiting[command_id]
            self._drop_unused(project_id, watch)

    def close(self) -> None:
        """End the reader; readers get nothing new from here on."""
        self._stopped = True
        thread, self._thread = self._thread, None
        try:
            self.feed.ring()
            if thread is not None:
                thread.join(timeout=self.tick_s + 1)
            self.feed.close()
        except StoreUnavailable:
            return  # then its blocking read fails too, and the thread ends

    def _watch(self, project_id: str) -> _Watch:
        """The project's watch; a new one is known to start before whatever its readers read."""
        with self.lock:
            known = self._watches.get(project_id)
        if known is not None:
            return known
        watch = _Watch(self.feed.latest([project_id])[project_id])
        with self.lock:
            watch = self._watches.setdefault(project_id, watch)
            first = self._thread is None and not self._stopped
            if first:
                self._thread = threading.Thread(target=self._run, name="rdev-hub", daemon=True)
        if first and self._thread is not None:
            self._thread.start()  # not under the lock: it waits for the thread
        self.feed.ring()
        return watch

    def _drop_unused(self, project_id: str, watch: _Watch) -> None:
        if watch.unused and self._watches.get(project_id) is watch:
            del self._watches[project_id]

    def _run(self) -> None:
        backoff_s = 0.05
        while not self._stopped:
            try:
                self._turn()
                backoff_s = 0.05
            except Exception as exc:  # else readers here would wait for ever
                if not isinstance(exc, StoreUnavailable):
                    log.error("the hub begins anew", exc_info=exc)
                self._was_down = True
                time.sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 (jitter)
                backoff_s = min(backoff_s * 2, _MAX_BACKOFF_S)

    def _turn(self) -> None:
        with self.lock:
            after = {project_id: watch.read_to for project_id, watch in self._watches.items()}
        if self._was_down:
            self._resume(list(after))
            self._was_down = False
            return
        for project_id, notices in self.feed.wait(after, self.tick_s).items():
            self._deliver(project_id, notices)
        if time.monotonic() - self._ticked >= self.tick_s:
            self._tick()
            self._ticked = time.monotonic()

    def _resume(self, project_ids: Sequence[str]) -> None:
        """After Redis was away: what it holds now may be older, or nothing at all."""
        for project_id, latest in self.feed.latest(project_ids).items():
            self._start_over(project_id, latest)

    def _start_over(self, project_id: str, read_to: EntryId) -> None:
        """Let every reader of the project look in Redis itself. `read_to` was read before."""
        with self.lock:
            self.breaks += 1
            watch = self._watches.get(project_id)
            if watch is None:
                return
            watch.read_to = read_to
            for channel in watch.channels():
                channel.cool()
                _ring(channel.bells)
            for bells in watch.waiting.values():
                _ring(bells)

    def _deliver(self, project_id: str, notices: Sequence[Notice]) -> None:
        with self.lock:
            watch = self._watches.get(project_id)
            # Dropped and watched anew while we read: then these are older than the new watch.
            if watch is None or notices[0].id <= watch.read_to:
                return
            unbroken = notices[0].previous == watch.read_to
        if not unbroken:
            self._start_over(project_id, notices[-1].id)
            return
        with self.lock:
            watch.read_to = notices[-1].id
            behind = self._stir(watch, notices)
            channel = watch.channel
        fetched = self._extend_commands(project_id, behind)
        if channel is not None:
            self._extend_project(project_id, channel, notices, fetched)

    def _stir(self, watch: _Watch, notices: Sequence[Notice]) -> dict[str, Channel]:
        """The commands' channels that the notices concern."""
        concerned = {}
        for notice in notices:
            channel = watch.commands.get(notice.command_id)
            if channel is not None:
                concerned[notice.command_id] = channel
            if notice.type == FINISHED:
                _ring(watch.waiting.get(notice.command_id, ()))
        for channel in (*concerned.values(), *([watch.channel] if watch.channel else [])):
            channel.stirred += 1
            if channel.tail is None:
                _ring(channel.bells)
        return concerned

    def _extend_commands(
        self, project_id: str, channels: dict[str, Channel]
    ) -> dict[tuple[str, EntryId], Entry]:
        """Read on in these commands' streams until there is no more; returns what was read."""
        fetched: dict[tuple[str, EntryId], Entry] = {}
        while True:
            with self.lock:
                tails = [(c, ch.tail) for c, ch in channels.items() if ch.tail is not None]
            pages = self.feed.entries(
                [(project_id, c, tail, None) for c, tail in tails], count=PAGE
            )
            grown = {}
            for (command_id, tail), page in zip(tails, pages, strict=True):
                if page:
                    self._extend(channels[command_id], command_id, tail, page)
                    fetched.update(((command_id, entry.id), entry) for entry in page)
                    grown[command_id] = channels[command_id]
            if not any(len(page) == PAGE for page in pages):  # of more a notice will tell
                return fetched
            channels = grown

    def _extend(
        self, channel: Channel, command_id: str, tail: EntryId, page: Sequence[Entry]
    ) -> None:
        at, whole = position_of(tail), True
        for entry in page:
            whole = whole and entry.start == at
            at = entry.end
        frames = [self.encode(e.id, e.type, render(e, command_id)) for e in page] if whole else []
        with self.lock:
            if whole and channel.tail == tail:
                channel.extend([e.id for e in page], frames, ended=page[-1].type == FINISHED)
            elif not whole:
                channel.cool()
            _ring(channel.bells)

    def _extend_project(
        self,
        project_id: str,
        channel: Channel,
        notices: Sequence[Notice],
        fetched: dict[tuple[str, EntryId], Entry],
    ) -> None:
        with self.lock:
            tail = channel.tail
        new = [notice for notice in notices if tail is not None and notice.id > tail]
        if tail is None or not new:
            return
        frames = self.frames.of(project_id, new, fetched)
        with self.lock:
            if channel.tail != tail:
                return
            if new[0].previous == tail:
                channel.extend([notice.id for notice in new], frames, ended=False)
            else:
                channel.cool()
            _ring(channel.bells)

    def _tick(self) -> None:
        """Look for what no notice told of: a stream trimmed unread, or gone without a word."""
        with self.lock:
            watches = list(self._watches.items())
        latest = self.feed.latest([project_id for project_id, _ in watches])
        for project_id, watch in watches:
            if latest[project_id] < watch.read_to:
                self._start_over(project_id, latest[project_id])
                continue
            with self.lock:
                commands = dict(watch.commands)
                for channel in watch.channels():
                    if channel.tail is None:
                        channel.stirred += 1
                        _ring(channel.bells)
            self._extend_commands(project_id, commands)
            self._cool_missing(project_id, commands)

    def _cool_missing(self, project_id: str, commands: dict[str, Channel]) -> None:
        """Of streams that went, or never came, the archive or the record may tell the end."""
        warm = [command_id for command_id, ch in commands.items() if ch.tail is not None]
        for command_id in self.feed.missing(project_id, warm):
            with self.lock:
                commands[command_id].cool()
                _ring(commands[command_id].bells)


def _ring(bells: Sequence[Bell] | set[Bell] | tuple[()]) -> None:
    for bell in bells:
        bell.ring()
