"""`python -m rdev.platform.drain`: one wake-up of a runner as a process of its own.

For schedules that start processes and cannot call a function, such as a CronJob: it sweeps, sees
commands through until none is left or RDEV_DRAIN_FOR_S is over, hands over what still runs, and
ends."""

import signal

from rdev import wiring
from rdev.config import settings
from rdev.platform.logs import configure
from rdev.wiring.runner import new_runner


def run() -> None:
    """Returns when there is nothing to do, or soon after SIGTERM or SIGINT."""
    configure()
    wiring.telemetry()
    runner = new_runner()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runner.stop())
    try:
        runner.drain(settings().drain_for_s)
    finally:
        wiring.end_telemetry()


if __name__ == "__main__":
    run()
