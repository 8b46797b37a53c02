"""`rdev up`: five processes and their keeper, on one machine, from nothing.

The order: hold the home, end what an earlier run left, take the port, start the stores, migrate,
start the rest, wait for the first answer. What goes wrong before that first answer ends everything
with one line; what dies after it is started again, for ever.
"""

import os
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from rdev.config import SOURCE_ROOT
from rdev.errors import RdevError
from rdev.platform.layout import Layout, occupied, prepare, unusable
from rdev.platform.listener import base_url, listen
from rdev.platform.parts import Stores, rdev_parts
from rdev.platform.problems import CannotStart
from rdev.platform.processes import end_all, read_record
from rdev.platform.stores import migrate
from rdev.platform.supervisor import Part, Stop, Supervisor, listening_for_stop

READY_TIMEOUT_S = 60.0
"""Generous: a crash recovery of Postgres or a long append-only file takes its time."""

Greeting = Callable[[Path, str], list[str]]
MakeParts = Callable[[str, int, int], list[Part]]


class _Stopped(Exception):  # noqa: N818 - not an error
    """Asked to stop before everything was up."""


def up(home: Path, host: str, port: int) -> int:
    """Run the platform until SIGTERM, SIGINT or SIGHUP. Returns the exit code."""
    return run(home, host, port, rdev_parts, _first_run)


def run(home: Path, host: str, port: int, make_parts: MakeParts, greet: Greeting) -> int:
    """As `up`, with the parts beside the stores, and the greeting, of the caller's choice."""
    try:
        with listening_for_stop() as stop, occupied(home) as place:
            return _run(place, host, port, make_parts, greet, stop)
    except CannotStart as exc:
        _say(str(exc), sys.stderr)
        return 1
    except _Stopped:
        return 0


def _run(
    home: Path, host: str, port: int, make_parts: MakeParts, greet: Greeting, stop: Stop
) -> int:
    began = time.monotonic()
    for process in end_all(p for p in read_record(home / "run" / "processes.json")):
        _say(f"ended {process.name} (pid {process.pid}), left by an earlier run")
    try:
        layout = prepare(home)
        stores = Stores.of(layout)
        stores.clear()
    except OSError as exc:
        raise unusable(home, exc) from exc
    with listen(host, port) as listener:
        keeper = Supervisor(layout.log, layout.record, _say)
        try:
            _start_stores(keeper, stores, stop)
            _configure(layout, stores)
            for part in make_parts(host, port, listener.fileno()):
                keeper.start(part)
            _await_health(keeper, host, port, stop)
            lines = greet(home, base_url(host, port))
            _say(f"ready on {base_url(host, port)} after {time.monotonic() - began:.1f} s")
            _print([*lines, "", "Ctrl-C ends it."])
            keeper.tend(stop)
            _say("stopping")
        except OSError as exc:
            raise unusable(home, exc) from exc
        except RdevError as exc:
            raise CannotStart(f"The first steps failed: {exc.message}") from exc
        finally:
            listener.close()
            keeper.stop()
    return 0


def _start_stores(keeper: Supervisor, stores: Stores, stop: Stop) -> None:
    for part in stores.parts():
        keeper.start(part)

    def alive() -> bool:
        return keeper.all_alive() and not stop.asked

    for store in (stores.valkey, stores.postgres):
        if not store.wait_ready(READY_TIMEOUT_S, alive):
            _explain(keeper, stop, stores.remedies())
    migrate(stores.postgres.url(), SOURCE_ROOT / "migrations")


def _configure(layout: Layout, stores: Stores) -> None:
    """From here on this process and the parts that it starts share one configuration."""
    own_pepper = os.environ.get("RDEV_PEPPER_FILE")
    os.environ.update(layout.environment())
    os.environ["RDEV_DATABASE_URL"] = stores.postgres.url()
    os.environ["RDEV_REDIS_URL"] = stores.valkey.url
    if own_pepper:
        os.environ["RDEV_PEPPER_FILE"] = str(Path(own_pepper).absolute())


def _await_health(keeper: Supervisor, host: str, port: int, stop: Stop) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not _healthy(base_url(host, port)):
        if stop.asked or not keeper.all_alive() or time.monotonic() > deadline:
            _explain(keeper, stop, {})


def _healthy(url: str) -> bool:
    connection = HTTPConnection(url.removeprefix("http://"), timeout=1.0)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200  # noqa: PLR2004
    except (OSError, HTTPException):
        time.sleep(0.02)
        return False
    finally:
        connection.close()


def _explain(keeper: Supervisor, stop: Stop, remedies: dict[str, str]) -> None:
    if stop.asked:
        raise _Stopped
    name = keeper.dead()
    if name is None:
        raise CannotStart(
            f"Not ready after {READY_TIMEOUT_S:.0f} s; the logs are in {keeper.log_dir}"
        )
    remedy = remedies.get(name, "")
    raise CannotStart(
        f"{name} does not start: {keeper.epitaph(name)} (see {keeper.log_path(name)}). {remedy}"
    )


def _first_run(home: Path, url: str) -> list[str]:
    from rdev.platform.first_run import first_run

    return first_run(home, url)


def _say(line: str, where: object = None) -> None:
    stream = sys.stderr if where is sys.stderr else sys.stdout
    stream.write(f"rdev: {line}\n")
    stream.flush()


def _print(lines: list[str]) -> None:
    sys.stdout.write("\n".join(["", *lines, ""]))
    sys.stdout.flush()
