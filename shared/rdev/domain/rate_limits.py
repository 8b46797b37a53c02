"""The sliding window of a rate limit: conservative, never one too many in any second. Pure.

Requests are counted in buckets of 50 ms. Two requests less than a second apart lie at most 20
buckets apart, so what the newest 21 buckets hold is all that a second ending now can hold, and
up to 50 ms more. `enter.lua` does the same inside Redis, by Redis's clock.
"""

from dataclasses import dataclass, field

BUCKET_MS = 50
BUCKETS = 21


@dataclass(frozen=True, slots=True)
class Window:
    """What a window said to one request."""

    limit: int
    """Requests in any second."""
    remaining: int
    """How many more there may be at once, after this one."""
    reset_ms: int
    """Until all of the limit is free again."""
    retry_ms: int = 0
    """Until the next one is free; 0 where this request was let through."""

    @property
    def allowed(self) -> bool:
        return self.retry_ms == 0


@dataclass(slots=True)
class SlidingWindow:
    """A window in this process: for when Redis cannot be asked."""

    _newest: int = 0
    _counts: list[int] = field(default_factory=lambda: [0] * BUCKETS)

    def take(self, limit: int, now_ms: int) -> Window:
        """Count one request, if the limit lets it through."""
        newest, counts, set_back = self._seen_from(now_ms // BUCKET_MS)
        used = sum(counts)
        allowed = used < limit
        if allowed:
            counts[newest % BUCKETS] += 1
        if allowed or set_back:
            self._newest, self._counts = newest, counts
        reset_ms = _free_in(newest, counts, now_ms, 0)
        if allowed:
            return Window(limit, limit - used - 1, reset_ms)
        # The windows of two limits may overlap: as many must leave as are too many.
        return Window(limit, 0, reset_ms, _free_in(newest, counts, now_ms, limit - 1))

    def _seen_from(self, bucket: int) -> tuple[int, list[int], bool]:
        """The newest bucket, what each holds, and whether the clock was put back far: then all
        that is known counts as new."""
        last = self._newest
        if bucket < last - BUCKETS:
            counts = [0] * BUCKETS
            counts[bucket % BUCKETS] = sum(self._counts)
            return bucket, counts, True
        newest = max(bucket, last)
        counts = list(self._counts)
        for passed in range(last + 1, min(newest, last + BUCKETS) + 1):
            counts[passed % BUCKETS] = 0
        return newest, counts, False


def _free_in(newest: int, counts: list[int], now_ms: int, wanted: int) -> int:
    """Milliseconds until no more than `wanted` are counted."""
    used = sum(counts)
    for bucket in range(newest - BUCKETS + 1, newest + 1):
        used -= counts[bucket % BUCKETS]
        if used <= wanted:
            return max(1, (bucket + BUCKETS) * BUCKET_MS - now_ms)
    raise AssertionError("an empty window holds no more than anything")
