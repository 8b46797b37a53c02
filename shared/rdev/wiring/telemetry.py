"""Where traces go."""

from rdev import __version__
from rdev.wiring.parts import once


@once
def telemetry() -> bool:
    """Started at a worker's first request, not at its import: see `adapters.telemetry.setup`."""
    from rdev.adapters.telemetry import setup

    setup.start(__version__)
    return True


def end_telemetry() -> None:
    from rdev.adapters.telemetry import setup

    setup.stop()
