"""Who may come in, and what is kept of it: keys, limits, audit."""

import time
from typing import TYPE_CHECKING

from rdev.config import settings
from rdev.errors import Unavailable
from rdev.ports import metrics
from rdev.wiring.parts import later, now, once
from rdev.wiring.stores import database

if TYPE_CHECKING:
    from rdev.adapters.redis.key_gate import KeyGate
    from rdev.domain.key_secrets import Peppers
    from rdev.domain.keys import Limits
    from rdev.services.audit import Audit
    from rdev.services.authentication import Authentication
    from rdev.services.denials import Denials
    from rdev.services.keys import Keys

_CACHED_S = 60.0
_FAILURES_S = 60.0


@once
def key_gate() -> "KeyGate":
    from rdev.adapters.redis.key_gate import KeyGate

    # Half of what a request may wait for a store: it still has to ask Postgres then.
    timeout_s = settings().store_timeout_s / 2
    return KeyGate(settings().redis_url.get_secret_value(), timeout_s=timeout_s)


@once
def peppers() -> "Peppers":
    from rdev.domain.key_secrets import Peppers

    try:
        return Peppers.parse(settings().pepper.get_secret_value())
    except ValueError as exc:
        raise Unavailable(f"RDEV_PEPPER is not usable: {exc}. The operator has to set it.") from exc


@once
def key_limits() -> "Limits":
    from rdev.domain.keys import Limits

    return Limits(settings().default_rate_limit, settings().default_max_concurrent)


@once
def keys() -> "Keys":
    from rdev.services.keys import Keys

    return Keys(
        database().transaction, key_gate(), peppers=peppers(), defaults=key_limits(), now=now
    )


@once
def authentication() -> "Authentication":
    from cachetools import LRUCache, TTLCache

    from rdev.services.authentication import Authentication, Caches
    from rdev.services.key_usage import KeyUsage
    from rdev.services.slowdown import Slowdown

    return Authentication(
        database().transaction,
        key_gate(),
        KeyUsage(database().transaction, later),
        Slowdown(TTLCache(10_000, ttl=_FAILURES_S), time.sleep, free=settings().free_failures),
        Caches(keys=TTLCache(10_000, ttl=_CACHED_S), windows=LRUCache(10_000)),
        peppers=peppers(),
        defaults=key_limits(),
        now=now,
        fell_back=metrics.LIMITER_FALLBACKS.add,
    )


@once
def audit() -> "Audit":
    from rdev.services.audit import Audit

    return Audit(database().transaction)


@once
def denials() -> "Denials":
    from rdev.services.denials import Denials

    return Denials(database().transaction, later)
