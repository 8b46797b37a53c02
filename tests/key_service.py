"""The services of keys over real stores, for tests that need a caller."""

from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

from cachetools import LRUCache, TTLCache

from rdev.adapters.postgres.database import Database
from rdev.adapters.redis.key_gate import KeyGate
from rdev.domain.callers import Caller
from rdev.domain.key_secrets import Peppers
from rdev.domain.keys import Limits
from rdev.domain.rate_limits import SlidingWindow
from rdev.services.authentication import Authentication, Cached, Caches
from rdev.services.key_usage import KeyUsage
from rdev.services.keys import Keys
from rdev.services.slowdown import Slowdown

PEPPER = "p" * 32
NOWHERE = "redis://127.0.0.1:1/0"


_gates: list[KeyGate] = []


def gate_at(redis_url: str) -> KeyGate:
    gate = KeyGate(redis_url, timeout_s=5)
    _gates.append(gate)
    return gate


def close_gates() -> None:
    """At the end of each test, by a fixture."""
    while _gates:
        _gates.pop().close()


def utc_now() -> datetime:
    return datetime.now(UTC)


class Clock:
    """Stands still at now, until a test moves it."""

    def __init__(self) -> None:
        self.time = utc_now()

    def __call__(self) -> datetime:
        return self.time


def key_service(
    database: Database,
    redis_url: str = NOWHERE,
    *,
    pepper: str = PEPPER,
    now: Callable[[], datetime] = utc_now,
) -> Keys:
    peppers = Peppers.parse(pepper)
    return Keys(
        database.transaction, gate_at(redis_url), peppers=peppers, defaults=Limits(), now=now
    )


def authentication(
    database: Database,
    redis_url: str,
    *,
    pepper: str = PEPPER,
    now: Callable[[], datetime] = utc_now,
    slept: list[float] | None = None,
    known: MutableMapping[bytes, Cached] | None = None,
    windows: LRUCache[str, SlidingWindow] | None = None,
    **more: Any,
) -> Authentication:
    """`slept` collects for how long failures would have waited."""
    return Authentication(
        database.transaction,
        gate_at(redis_url),
        KeyUsage(database.transaction, lambda _delay_s, write: write()),
        Slowdown(TTLCache(1000, ttl=60), [].append if slept is None else slept.append, free=10),
        Caches(
            TTLCache(1000, ttl=60) if known is None else known,
            LRUCache(1000) if windows is None else windows,
        ),
        peppers=Peppers.parse(pepper),
        defaults=Limits(),
        now=now,
        **more,
    )


def first_caller(keys: Keys, database: Database) -> Caller:
    """Make the first admin key, and be it."""
    assert keys.create_first() is not None
    with database.transaction() as tx:
        return Caller(tx.keys.list(before=None, limit=1)[0])
