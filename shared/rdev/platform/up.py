"""`rdev up`: five processes and their keeper, on one machine, from nothing.

The order: hold the home, end what an earlier run left, take the port, start the stores, migrate,
start the rest, wait for the first answer. What goes wrong before that first answer ends everything
with one line; what dies after it is started again, for ever.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TextIO

from rdev.config import SOURCE_ROOT
from rdev.errors import RdevError
from rdev.platform.layout import Layout, occupied, prepare, unusable
from rdev.platform.listener import base_url, listen
from rdev.platform.parts import Stores, rdev_parts
from rdev.platform.problems import CannotStart
from rdev.platform.processes import end_all, read_record
from rdev.platform.stores import migrate, wait_until
from rdev.platform.supervisor import Part, Stop, Supervisor, listening_for_stop

READY_TIMEOUT_S = 300.0
"""Generous: a crash recovery of Postgres or a long append-only file takes its time, and a busy
machine takes it for everything. What ends by itself is told at once."""
SLOW_S = 15.0
"""What takes longer than this is named, so that nobody takes it for hanging."""
_RECEIVERS = ("RDEV_WEBHOOK_ALLOW_CIDRS", "RDEV_WEBHOOK_ALLOW_HTTP")
"""Where webhooks may go: as the caller says, also if that is nowhere."""


class _Stopped(Exception):
    """Asked to stop before everything was up."""


def _first_run(home: Path, url: str) -> list[str]:
    from rdev.platform.first_run import first_run

    return first_run(home, url)


@dataclass(frozen=True)
class Plan:
    """What runs beside the stores, and where."""

    host: str
    port: int
    make_parts: Callable[[str, int, int], list[Part]] = rdev_parts
    """Of host, port and the listening socket's descriptor."""
    greet: Callable[[Path, str], list[str]] = _first_run
    """Called once everything answers; gives the lines to print."""

    @property
    def url(self) -> str:
        return base_url(self.host, self.port)


def up(home: Path, host: str, port: int) -> int:
    """Run the platform until SIGTERM, SIGINT or SIGHUP. Returns the exit code."""
    return run(home, Plan(host, port))


def run(home: Path, plan: Plan) -> int:
    """As `up`, by a plan."""
    try:
        with listening_for_stop() as stop, occupied(home) as place:
            _run(place, plan, stop)
    except CannotStart as exc:
        _write(sys.stderr, f"rdev: {exc}\n")
        return 1
    except _Stopped:
        pass
    return 0


def _run(home: Path, plan: Plan, stop: Stop) -> None:
    began = time.monotonic()
    for process in end_all(read_record(home / "run" / "processes.json")):
        _say(f"ended {process.name} (pid {process.pid}), left by an earlier run")
    with _explaining(home), listen(plan.host, plan.port) as listener:
        layout = prepare(home)
        stores = Stores.of(layout)
        stores.clear()
        keeper = Supervisor(layout.log, layout.record, _say)
        try:
            _start_stores(keeper, stores, stop)
            configure(layout, stores)
            for part in plan.make_parts(plan.host, plan.port, listener.fileno()):
                keeper.start(part)
            _await(keeper, stop, "functions", partial(wait_until, lambda: _healthy(plan.url)))
            lines = plan.greet(home, plan.url)
            _say(f"ready on {plan.url} after {time.monotonic() - began:.1f} s")
            _write(sys.stdout, "\n".join(["", *lines, "", "Ctrl-C ends it.", ""]))
            keeper.tend(stop)
            _say("stopping")
        finally:
            listener.close()
            keeper.stop()


@contextmanager
def _explaining(home: Path) -> Iterator[None]:
    """Turn what may go wrong on the way up into one line."""
    try:
        yield
    except OSError as exc:
        raise unusable(home, exc) from exc
    except subprocess.TimeoutExpired as exc:
        program = Path(exc.cmd[0]).name
        raise CannotStart(f"{program} was not done after {exc.timeout:.0f} s; try again") from exc
    except RdevError as exc:
        raise CannotStart(f"The first steps failed: {exc.message}") from exc


def _start_stores(keeper: Supervisor, stores: Stores, stop: Stop) -> None:
    for part in stores.parts():
        keeper.start(part)
    _await(keeper, stop, "valkey", stores.valkey.wait_ready, stores.remedies())
    _await(keeper, stop, "postgres", stores.postgres.wait_ready, stores.remedies())
    migrate(stores.postgres.url(), SOURCE_ROOT / "migrations")


def configure(layout: Layout, stores: Stores) -> None:
    """From here on this process and the parts that it starts share one configuration."""
    own_pepper = os.environ.get("RDEV_PEPPER_FILE")
    own_archive = os.environ.get("RDEV_ARCHIVE_URL")
    receivers = {name: os.environ[name] for name in _RECEIVERS if name in os.environ}
    os.environ.update(layout.environment() | receivers)
    os.environ["RDEV_DATABASE_URL"] = stores.postgres.url()
    os.environ["RDEV_REDIS_URL"] = stores.valkey.url
    if own_pepper:
        os.environ["RDEV_PEPPER_FILE"] = str(Path(own_pepper).absolute())
    if own_archive:
        os.environ["RDEV_ARCHIVE_URL"] = own_archive


def _await(
    keeper: Supervisor,
    stop: Stop,
    name: str,
    wait: Callable[[float, Callable[[], bool]], bool],
    remedies: dict[str, str] | None = None,
) -> None:
    """Until this part answers, for as long as all parts live. `wait`: see `wait_until`."""
    slow_at: float | None = time.monotonic() + SLOW_S

    def alive() -> bool:
        nonlocal slow_at
        if slow_at is not None and time.monotonic() > slow_at:
            _say(f"waits for {name} ({keeper.log_path(name)})")
            slow_at = None
        return keeper.dead() is None and not stop.asked

    if not wait(READY_TIMEOUT_S, alive):
        _explain(keeper, stop, name, remedies or {})


def _healthy(url: str) -> bool:
    connection = HTTPConnection(url.removeprefix("http://"), timeout=1.0)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200  # noqa: PLR2004
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _explain(keeper: Supervisor, stop: Stop, awaited: str, remedies: dict[str, str]) -> None:
    if stop.asked:
        raise _Stopped
    name = keeper.dead()
    if name is None:
        raise CannotStart(
            f"{awaited} is not ready after {READY_TIMEOUT_S:.0f} s; "
            f"{keeper.log_path(awaited)} may say why"
        )
    remedy = remedies.get(name, "")
    raise CannotStart(
        f"{name} does not start: {keeper.epitaph(name)} (see {keeper.log_path(name)}). {remedy}"
    )


def _say(line: str) -> None:
    _write(sys.stdout, f"rdev: {line}\n")


def _write(stream: TextIO, text: str) -> None:
    # Whoever read this may be gone; that is no reason to stop.
    with suppress(OSError):
        stream.write(text)
        stream.flush()
