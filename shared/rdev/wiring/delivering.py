"""Endpoints, their deliveries and who sends these."""

from typing import TYPE_CHECKING

from rdev import __version__
from rdev.config import settings
from rdev.domain.wakeups import DELIVERY_DUE
from rdev.wiring.parts import later, made, now, once
from rdev.wiring.stores import database, redis_blocking, redis_client
from rdev.wiring.wakeups import try_to_wake

if TYPE_CHECKING:
    from rdev.adapters.redis.bell import DeliveryBell
    from rdev.adapters.webhooks.sender import WebhookSender
    from rdev.services.calling import Calling
    from rdev.services.deliveries import Deliveries
    from rdev.services.delivery_log import DeliveryLog
    from rdev.services.webhooks import Webhooks

_woken: dict[str, "Deliveries"] = {}


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
    if resident := made(resident_deliveries):
        resident.nudge()
        return
    deliveries = new_deliveries()
    at_it = _woken.setdefault("deliveries", deliveries)
    if at_it is not deliveries:
        at_it.nudge()
        return
    try:
        left = deliveries.drain(settings().deliver_for_s)
    finally:
        del _woken["deliveries"]
    if left:
        try_to_wake(DELIVERY_DUE)


def stop_woken_deliveries() -> None:
    """This process is to end: have the one that was woken give back what it has not begun."""
    if deliveries := _woken.get("deliveries"):
        deliveries.stop()


def call_senders() -> None:
    """Say that something is to be delivered. Best effort: what nobody heard is found later."""
    if resident := made(resident_deliveries):
        resident.nudge()
    else:
        calling()()


@once
def calling() -> "Calling":
    from rdev.services.calling import Calling

    def wake_function() -> None:
        if settings().broker_url:  # not within the request: it may take its time
            later(0, lambda: try_to_wake(DELIVERY_DUE))

    return Calling(lambda: delivery_bell().ring(), wake_function)
