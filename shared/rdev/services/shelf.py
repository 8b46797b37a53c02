"""What one process has read of the archive lately: listings and segments, shared by its readers.

A thousand readers of one old command load each of its segments once.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from rdev.domain.segments import Segment, SegmentName
from rdev.errors import SegmentDamaged
from rdev.ports import SegmentArchive, metrics

log = logging.getLogger(__name__)

T = TypeVar("T")
Place = tuple[str, str]

_LISTINGS = 1000
_DAMAGE_S = 60.0
"""How long a segment that was found damaged is not asked for again."""


class Shelf:
    """Raises StoreUnavailable where the archive does. May be used by any thread."""

    def __init__(self, archive: SegmentArchive, *, keep_bytes: int = 32 * 1024 * 1024) -> None:
        self._archive = archive
        self._keep_bytes = keep_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._loading: dict[object, threading.Lock] = {}
        self._listings: OrderedDict[Place, tuple[float, tuple[SegmentName, ...]]] = OrderedDict()
        self._segments: OrderedDict[tuple[Place, SegmentName], Segment] = OrderedDict()
        self._damaged: dict[tuple[Place, SegmentName], float] = {}

    def names(self, place: Place, *, since: float = 0.0) -> tuple[SegmentName, ...]:
        """What is archived of a command; `since`: looked up after that time (monotonic), else
        whenever something was seen."""

        def known() -> tuple[SegmentName, ...] | None:
            with self._lock:
                began_at, names = self._listings.get(place, (0.0, ()))
                return names if began_at >= since and (names or since) else None

        return self._sound(place, self._once(place, known, lambda: self._list(place)))

    def segment(self, place: Place, name: SegmentName) -> Segment | None:
        """None where it is gone or damaged; then `names` shows it no more."""
        key = (place, name)

        def known() -> Segment | None:
            with self._lock:
                found = self._segments.get(key)
                if found is not None:
                    self._segments.move_to_end(key)
                return found

        return self._once(key, known, lambda: self._load(place, name))

    def _once(self, key: object, known: Callable[[], T | None], fetch: Callable[[], T]) -> T:
        """What is known, or else fetched, by one of those who ask at the same time."""
        found = known()
        metrics.CACHE_LOOKUPS.add("archive", "miss" if found is None else "hit")
        if found is not None:
            return found
        with self._lock:
            gate = self._loading.setdefault(key, threading.Lock())
        with gate:
            try:
                found = known()
                return fetch() if found is None else found
            finally:
                with self._lock:
                    self._loading.pop(key, None)

    def _list(self, place: Place) -> tuple[SegmentName, ...]:
        began_at = time.monotonic()
        names = tuple(self._archive.segments(*place))
        with self._lock:
            self._listings[place] = (began_at, names)
            self._listings.move_to_end(place)
            while len(self._listings) > _LISTINGS:
                self._listings.popitem(last=False)
        return names

    def _load(self, place: Place, name: SegmentName) -> Segment | None:
        try:
            segment = self._archive.load(*place, name)
        except SegmentDamaged as exc:
            log.error(
                "segment %s of %s is damaged, so its bytes are missing: %s",
                name,
                "/".join(place),
                exc,
            )
            segment = None
        with self._lock:
            if segment is None:
                self._forget(place, name)
            else:
                self._keep(place, name, segment)
        return segment

    def _forget(self, place: Place, name: SegmentName) -> None:
        now = time.monotonic()
        self._damaged = {key: until for key, until in self._damaged.items() if until > now}
        self._damaged[place, name] = now + _DAMAGE_S
        self._listings.pop(place, None)

    def _keep(self, place: Place, name: SegmentName, segment: Segment) -> None:
        self._segments[place, name] = segment
        self._bytes += segment.size
        while self._bytes > self._keep_bytes and len(self._segments) > 1:
            _, dropped = self._segments.popitem(last=False)
            self._bytes -= dropped.size

    def _sound(self, place: Place, names: tuple[SegmentName, ...]) -> tuple[SegmentName, ...]:
        if not self._damaged:
            return names
        now = time.monotonic()
        return tuple(name for name in names if self._damaged.get((place, name), 0.0) < now)
