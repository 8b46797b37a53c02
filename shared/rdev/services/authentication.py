"""Authentication: which key a request carries, and whether it may come in. One round trip to the
gate, as a rule: keys' records are cached in this process, and count only while the version that
the gate knows is the record's. See `KeyGate` for what makes a revocation final.
"""

import logging
import threading
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from cachetools import LRUCache

from rdev.domain.addresses import Address
from rdev.domain.key_secrets import Peppers, SecretHash, well_formed
from rdev.domain.keys import Key, Limits
from rdev.domain.rate_limits import SlidingWindow, Window
from rdev.errors import Forbidden, Unauthorized, Unavailable
from rdev.ports import Transactions, metrics
from rdev.ports.keys import Entry, Found, KeyGate
from rdev.services.key_usage import KeyUsage
from rdev.services.slowdown import Slowdown

log = logging.getLogger(__name__)

_ELSEWHERE = "This API key may not be used from this address."


@dataclass(frozen=True, slots=True)
class Cached:
    """A key's record as this process last read it, for one of its secrets."""

    found: Found
    generation: int
    """The gate's, from before it was read."""


@dataclass(frozen=True, slots=True)
class Caches:
    """Bounded. They are asked by one thread at a time."""

    keys: MutableMapping[bytes, Cached]
    """Forgets what is old. Forgetting costs a look-up, never a mistake."""
    windows: LRUCache[str, SlidingWindow]
    """Forgets none that is in use: a fresh one lets the whole limit through once more."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """The key of a request, and what its rate limit said: it may have said no."""

    key: Key
    window: Window


class Authentication:
    def __init__(
        self,
        transaction: Transactions,
        gate: KeyGate,
        usage: KeyUsage,
        slowdown: Slowdown,
        caches: Caches,
        *,
        peppers: Peppers,
        defaults: Limits,
        now: Callable[[], datetime],
        fell_back: Callable[[], None] = lambda: None,
    ) -> None:
        """`fell_back` is told of each request that was counted in this process alone."""
        self._transaction = transaction
        self._gate = gate
        self._usage = usage
        self._slowdown = slowdown
        self._caches = caches
        self._peppers = peppers
        self._defaults = defaults
        self._now = now
        self._fell_back = fell_back
        self._gate_answers = True
        self._lock = threading.Lock()

    def admit(self, secret: str, address: Address | None) -> Admitted:
        """The key behind a secret. Raises Unauthorized, with the same words for every cause, and
        Forbidden where the key may not be used from this address."""
        if not well_formed(secret):
            self._refuse(address)
        candidates = self._peppers.candidates(secret)
        with self._lock:
            cached = self._caches.keys.get(candidates[0].value)
        just_read = cached is None or not cached.found.key.usable_from(address)
        metrics.CACHE_LOOKUPS.add("keys", "miss" if just_read else "hit")
        if cached is None or just_read:
            cached = self._ask(candidates, address)
        entry = self._enter(cached.found.key)
        # What was just read holds for this request, but it was read too early to be filled in.
        if not self._holds(cached, entry) and (not just_read or _to_be_filled(entry)):
            cached = self._ask(candidates, address)
            self._agree(cached.found.key, entry)
        return self._admitted(cached.found.key, entry, address)

    def admit_for(self, key_id: str, address: Address | None) -> Admitted:
        """The key of that id, for what it has been given before (a ticket). Raises as `admit`."""
        with self._transaction(reading=True) as tx:
            key = tx.keys.get(key_id)
        if key is None or not key.usable(self._now()):
            self._refuse(address, key)
        self._refuse_elsewhere(key, address)
        return self._admitted(key, self._enter(key), address)

    def _holds(self, cached: Cached, entry: Entry | None) -> bool:
        """Whether a record that was read before still counts, by what the gate said just now."""
        return (
            entry is not None
            and entry.version == cached.found.key.version
            and cached.generation == self._gate.generation
            and self._good(cached.found)
        )

    def _ask(self, candidates: Sequence[SecretHash], address: Address | None) -> Cached:
        """Read the key from the database, and cache it. What it says holds for a request that
        began before."""
        generation = self._gate.generation
        with self._transaction(reading=True) as tx:  # one round trip, also of a flood of wrong keys
            found = tx.keys.by_hash(candidates)
        if found is not None and found.good_until is None:
            current = candidates[0]
            if found.stored.pepper_version != current.pepper_version:
                with self._transaction() as tx:
                    tx.keys.rehash(found.key.id, found.stored, current)
        if found is None or not self._good(found):
            with self._lock:
                self._caches.keys.pop(candidates[0].value, None)
            self._refuse(address, found.key if found else None)
        self._refuse_elsewhere(found.key, address)
        cached = Cached(found, generation)
        with self._lock:
            self._caches.keys[candidates[0].value] = cached
        return cached

    def _good(self, found: Found) -> bool:
        now = self._now()
        return found.key.usable(now) and (found.good_until is None or now < found.good_until)

    def _enter(self, key: Key) -> Entry | None:
        """None where the gate cannot be asked."""
        try:
            entry = self._gate.enter(key.id, self._limit_of(key))
        except Unavailable as exc:
            if self._gate_answers:
                log.warning("rate limits are counted in each process alone for now: %s", exc)
            self._gate_answers = False
            return None
        if not self._gate_answers:
            log.warning("rate limits are counted together again")
        self._gate_answers = True
        return entry

    def _agree(self, key: Key, entry: Entry | None) -> None:
        """Tell the gate a version that it lacks, so that the next request need not ask again."""
        if entry is None:
            return
        try:
            if entry.fill is not None:
                self._gate.fill(key.id, entry.fill, key.version)
            elif entry.version is not None and entry.version < key.version:
                self._gate.publish(key.id, key.version)
        except Unavailable as exc:
            log.warning("left to the next request: %s", exc)

    def _admitted(self, key: Key, entry: Entry | None, address: Address | None) -> Admitted:
        now = self._now()
        self._usage.note(key.id, now, address)
        if entry is not None:
            return Admitted(key, entry.window)
        self._fell_back()
        with self._lock:
            window = self._caches.windows.setdefault(key.id, SlidingWindow())
            said = window.take(self._limit_of(key), int(now.timestamp() * 1000))
        return Admitted(key, said)

    def _limit_of(self, key: Key) -> int:
        return key.rate_limit or self._defaults.rate_limit

    def _refuse_elsewhere(self, key: Key, address: Address | None) -> None:
        if not key.usable_from(address):
            self._slowdown.failed(address)
            raise Forbidden(_ELSEWHERE, key_id=key.id)

    def _refuse(self, address: Address | None, key: Key | None = None) -> NoReturn:
        self._slowdown.failed(address)
        raise Unauthorized(key_id=key.id if key else None)


def _to_be_filled(entry: Entry | None) -> bool:
    return entry is not None and entry.fill is not None
