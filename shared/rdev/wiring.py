"""The only place that knows adapters and services both. Each part is built at its first use:
functions-framework imports a function before its server forks, so nothing may open at import."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from rdev import __version__
from rdev.config import settings
from rdev.domain.wakeups import COMMAND_QUEUED, DELIVERY_DUE
from rdev.errors import RdevError, Unavailable

if TYPE_CHECKING:
    import redis

    from rdev.adapters.archive.objects import ObjectArchive
    from rdev.adapters.broker.cloud_events import Broker
    from rdev.adapters.postgres.database import Database
    from rdev.adapters.redis.bell import DeliveryBell
    from rdev.adapters.redis.key_gate import KeyGate
    from rdev.adapters.redis.streams import Streams
    from rdev.adapters.redis.tickets import Tickets
    from rdev.adapters.webhooks.sender import WebhookSender
    from rdev.adapters.workspaces.local import LocalWorkspaces
    from rdev.domain.key_secrets import Peppers
    from rdev.domain.keys import Limits
    from rdev.services.audit import Audit
    from rdev.services.authentication import Authentication
    from rdev.services.calling import Calling
    from rdev.services.deliveries import Deliveries
    from rdev.services.delivery_log import DeliveryLog
    from rdev.services.denials import Denials
    from rdev.services.event_tickets import EventTickets
    from rdev.services.events import Events
    from rdev.services.exec import Exec
    from rdev.services.hub import Hub
    from rdev.services.input import Input
    from rdev.services.keys import Keys
    from rdev.services.projects import Projects
    from rdev.services.runner import Runner
    from rdev.services.webhooks import Webhooks

T = TypeVar("T")
log = logging.getLogger(__name__)

_BLOCK_S = 5.0
_READY_S = 1.0
_CACHED_S = 60.0
_FAILURES_S = 60.0
_lock = threading.RLock()
_made: dict[str, object] = {}


def once(make: Callable[[], T]) -> Callable[[], T]:
    """One of it a process, also when two threads ask at the same time."""

    def get() -> T:
        name = make.__name__
        if name not in _made:
            with _lock:
                if name not in _made:
                    _made[name] = make()
        return _made[name]  # type: ignore[return-value] # put there under this name just above

    return get


def now() -> datetime:
    return datetime.now(UTC)


@once
def database() -> "Database":
    from rdev.adapters.postgres.database import Database

    s = settings()
    return Database(
        s.database_url.get_secret_value(),
        pool_size=s.database_pool_size,
        timeout_s=s.store_timeout_s,
        on_delivery=call_senders,
        audit_command_text=s.audit_command_text,
    )


@once
def redis_client() -> "redis.Redis":
    from rdev.adapters.redis.connect import connect

    return connect(settings().redis_url.get_secret_value(), timeout_s=settings().store_timeout_s)


@once
def redis_blocking() -> "redis.Redis":
    from rdev.adapters.redis.connect import connect_blocking

    return connect_blocking(settings().redis_url.get_secret_value(), block_s=_BLOCK_S)


@once
def streams() -> "Streams":
    from rdev.adapters.redis.streams import Streams

    return Streams(redis_client())


@once
def tickets() -> "Tickets":
    from rdev.adapters.redis.tickets import Tickets

    return Tickets(redis_client(), redis_blocking())


@once
def archive() -> "ObjectArchive":
    from rdev.adapters.archive.objects import ObjectArchive

    s = settings()
    return ObjectArchive(s.archive_url.get_secret_value(), timeout_s=s.archive_timeout_s)


@once
def workspaces() -> "LocalWorkspaces":
    from rdev.adapters.workspaces.local import LocalWorkspaces

    s = settings()
    return LocalWorkspaces(s.workspaces_dir, s.commands_dir, drain_s=s.drain_s)


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
    from cachetools import TTLCache

    from rdev.http.metrics import LIMITED_ALONE
    from rdev.services.authentication import Authentication, Caches
    from rdev.services.key_usage import KeyUsage
    from rdev.services.slowdown import Slowdown

    return Authentication(
        database().transaction,
        key_gate(),
        KeyUsage(database().transaction, _later),
        Slowdown(TTLCache(10_000, ttl=_FAILURES_S), time.sleep, free=settings().free_failures),
        Caches(keys=TTLCache(10_000, ttl=_CACHED_S), windows=TTLCache(10_000, ttl=_CACHED_S)),
        peppers=peppers(),
        defaults=key_limits(),
        now=now,
        fell_back=LIMITED_ALONE.inc,
    )


def _later(delay_s: float, act: Callable[[], None]) -> None:
    timer = threading.Timer(delay_s, act)
    timer.daemon = True
    timer.start()


@once
def audit() -> "Audit":
    from rdev.services.audit import Audit

    return Audit(database().transaction)


@once
def denials() -> "Denials":
    from rdev.services.denials import Denials

    return Denials(database().transaction, _later)


@once
def projects() -> "Projects":
    from rdev.services.projects import Projects

    return Projects(database().transaction, workspaces(), now=now)


@once
def exec_() -> "Exec":
    from rdev.services.exec import Exec

    s = settings()
    return Exec(
        database().transaction,
        tickets(),
        streams(),
        default_timeout_s=s.default_timeout_s,
        queue_depth=s.queue_depth,
        wake_runner=wake,
        enforceable=workspaces().enforceable,
    )


@once
def input_() -> "Input":
    from rdev.services.input import Input

    return Input(database().transaction, tickets())


@once
def events() -> "Events":
    from rdev.services.ends import Ends
    from rdev.services.events import Events

    return Events(hub(), streams(), archive=archive(), ended=Ends(database().transaction).of)


@once
def hub() -> "Hub":
    from rdev.adapters.redis.feed import Feed
    from rdev.http.sse import frame
    from rdev.services.hub import Hub

    return Hub(Feed(redis_client(), redis_blocking()), frame)


@once
def event_tickets() -> "EventTickets":
    from rdev.adapters.redis.event_tickets import EventTicketStore
    from rdev.services.event_tickets import EventTickets

    return EventTickets(EventTicketStore(redis_client()))


def readiness() -> dict[str, dict[str, str]]:
    """By store: whether it answers, each asked for a second at most."""
    checks: dict[str, dict[str, str]] = {}
    for name, ask in (("postgres", _ask_postgres), ("redis", _ask_redis)):
        try:
            ask()
            checks[name] = {"status": "ok"}
        except RdevError as exc:
            checks[name] = {"status": "unavailable", "reason": exc.message}
    return checks


def _ask_postgres() -> None:
    database().ping(_READY_S)


def _ask_redis() -> None:
    from rdev.adapters.redis.connect import connect, translated

    with (
        translated(),
        connect(
            settings().redis_url.get_secret_value(), timeout_s=_READY_S, max_connections=1
        ) as client,
    ):
        client.ping()


@once
def webhook_sender() -> "WebhookSender":
    from rdev.adapters.webhooks.guard import Guard
    from rdev.adapters.webhooks.sender import WebhookSender

    s = settings()
    return WebhookSender(
        Guard(s.webhook_allow_networks, allow_http=s.webhook_allow_http),
        timeout_s=s.webhook_timeout_s,
        connect_timeout_s=s.webhook_connect_timeout_s,
        user_agent=f"rdev/{__version__}",
    )


@once
def webhooks() -> "Webhooks":
    from rdev.services.webhooks import Webhooks

    return Webhooks(
        database().transaction,
        refusal=webhook_sender().refusal,
        max_concurrent=settings().webhook_max_concurrent,
        now=now,
    )


@once
def delivery_log() -> "DeliveryLog":
    from rdev.services.delivery_log import DeliveryLog

    return DeliveryLog(database().transaction)


@once
def delivery_bell() -> "DeliveryBell":
    from rdev.adapters.redis.bell import DeliveryBell

    return DeliveryBell(redis_client(), redis_blocking())


@once
def resident_deliveries() -> "Deliveries":
    """The one that `rdev runner` keeps running."""
    return new_deliveries(delivery_bell())


def new_deliveries(bell: "DeliveryBell | None" = None) -> "Deliveries":
    from rdev.domain.delivering import DeliveryRules
    from rdev.services.deliveries import Deliveries, SendingRules

    s = settings()
    delivery = DeliveryRules(
        schedule_s=s.webhook_delays_s,
        breaker_failures=s.webhook_breaker_failures,
        breaker_s=s.webhook_breaker_s,
        disable_after_s=s.webhook_disable_after_days * 86400,
    )
    rules = SendingRules(
        at_once=s.deliver_at_once,
        lease_s=s.lease_s,
        renew_s=s.renew_s,
        sweep_s=s.sweep_s,
        retention_days=s.webhook_retention_days,
        rules=delivery,
    )
    return Deliveries(database().transaction, webhook_sender(), rules, now=now, bell=bell)


def wake_deliveries() -> None:
    """Have what is due delivered: by this process's resident sender, by a wake-up that is at it
    already, or here and now."""
    if "resident_deliveries" in _made:
        resident_deliveries().nudge()
        return
    deliveries = new_deliveries()
    at_it = _made.setdefault("woken_deliveries", deliveries)
    if at_it is not deliveries:
        at_it.nudge()  # type: ignore[attr-defined] # put there under this name just above
        return
    try:
        left = deliveries.drain(settings().deliver_for_s)
    finally:
        del _made["woken_deliveries"]
    if left:
        _try_to_wake(DELIVERY_DUE)


def call_senders() -> None:
    """Say that something is to be delivered. Best effort: what nobody heard is found later."""
    if "resident_deliveries" in _made:
        resident_deliveries().nudge()
    else:
        calling()()


@once
def calling() -> "Calling":
    from rdev.services.calling import Calling

    def wake_function() -> None:
        if settings().broker_url:  # not within the request: it may take its time
            _later(0, lambda: _try_to_wake(DELIVERY_DUE))

    return Calling(lambda: delivery_bell().ring(), wake_function)


def _try_to_wake(kind: str) -> None:
    try:
        wake(kind)
    except Unavailable as exc:
        log.warning("left to the next sweep: %s", exc)


@once
def resident_runner() -> "Runner":
    """The one that `rdev runner` keeps running."""
    return new_runner()


def wake_runner() -> None:
    """Have work done: by the resident runner of this process, else by one made for it."""
    if "resident_runner" in _made:
        resident_runner().nudge()
    else:
        left = new_runner().drain(settings().drain_for_s)
        if left:
            _try_to_wake(COMMAND_QUEUED)


def wake(kind: str) -> None:
    """Wake functions that are not resident. Raises Unavailable; does nothing without a broker."""
    if settings().broker_url:
        broker().wake(kind)


@once
def broker() -> "Broker":
    from rdev.adapters.broker.cloud_events import Broker

    return Broker(settings().broker_url)


def new_runner() -> "Runner":
    """A runner of its own name: one a process, or one a wake-up."""
    from rdev.domain.ids import new_id
    from rdev.services.archive import Archiver
    from rdev.services.concluding import ArchiveRules
    from rdev.services.following import Rules
    from rdev.services.runner import Runner, RunnerRules

    s = settings()
    rules = RunnerRules(
        slots=s.runner_slots,
        lease_s=s.lease_s,
        renew_s=s.renew_s,
        sweep_s=s.sweep_s,
        max_concurrent=s.default_max_concurrent,
        following=Rules(kill_grace_s=s.kill_grace_s),
        audit_retention_days=s.audit_retention_days,
    )
    name = f"{socket.gethostname()}:{os.getpid()}:{new_id('run')[-8:]}"
    stores = (streams(), workspaces())
    keeping = ArchiveRules(
        retention_days=s.archive_retention_days,
        redis_keeps_s=s.stream_keep_s,
        overdue_s=3 * s.lease_s,
    )
    archiver = Archiver(database().transaction, *stores, archive(), keeping)
    return Runner(name, database().transaction, tickets(), *stores, rules, archiver)
