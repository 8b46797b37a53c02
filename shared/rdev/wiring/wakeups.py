"""Waking what is not resident: best effort, since whatever nobody heard is found by a sweep."""

import logging
from typing import TYPE_CHECKING

from rdev.config import settings
from rdev.errors import Unavailable
from rdev.wiring.parts import once

if TYPE_CHECKING:
    from rdev.adapters.broker.cloud_events import Broker

log = logging.getLogger(__name__)


@once
def broker() -> "Broker":
    from rdev.adapters.broker.cloud_events import Broker

    return Broker(settings().broker_url)


def wake(kind: str) -> None:
    """Wake functions that are not resident. Raises Unavailable; does nothing without a broker."""
    if settings().broker_url:
        broker().wake(kind)


def try_to_wake(kind: str) -> None:
    try:
        wake(kind)
    except Unavailable as exc:
        log.warning("left to the next sweep: %s", exc)
