"""Where traces and metrics go."""

from typing import TYPE_CHECKING

from rdev import __version__
from rdev.config import settings
from rdev.wiring.parts import made, once

if TYPE_CHECKING:
    from rdev.adapters.telemetry.exposing import Exposing

_TELLS_OF_ALL = ("functions", "system")
"""Whoever tells what stands in the database, the same for all: the processes that are scraped."""


@once
def telemetry() -> "Exposing":
    """Started at a worker's first request, not at its import: see `adapters.telemetry.setup`."""
    from rdev.adapters.telemetry import setup
    from rdev.adapters.telemetry.exposing import Exposing

    setup.start(__version__, settings().process)
    exposing = Exposing(__version__, settings().process, settings().metrics_dir)
    if settings().process in _TELLS_OF_ALL:
        from rdev.services.standing import Standing
        from rdev.wiring.stores import database

        Standing(
            lambda *, reading=False: database().transaction(reading=reading),
            max_concurrent=settings().default_max_concurrent,
        ).watch()
    exposing.start()
    return exposing


def end_telemetry() -> None:
    from rdev.adapters.telemetry import setup

    if exposing := made(telemetry):
        exposing.stop()
    setup.stop()
