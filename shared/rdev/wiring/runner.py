"""Runners: the resident one of `rdev runner`, and one for each wake-up."""

import os
import socket
import threading
from typing import TYPE_CHECKING

from rdev.config import settings
from rdev.domain.wakeups import COMMAND_QUEUED
from rdev.wiring.commands import lifecycle, removal
from rdev.wiring.parts import made, now, once
from rdev.wiring.stores import archive, database, streams, tickets, workspaces
from rdev.wiring.wakeups import try_to_wake

if TYPE_CHECKING:
    from rdev.services.runner import Runner


_woken: set["Runner"] = set()
_leaving = threading.Event()


@once
def resident_runner() -> "Runner":
    """The one that `rdev runner` keeps running."""
    return new_runner(resident=True)


def wake_runner() -> None:
    """Have work done: by the resident runner of this process, else by one made for it."""
    if resident := made(resident_runner):
        resident.nudge()
        return
    runner = new_runner()
    _woken.add(runner)
    try:
        if _leaving.is_set():
            runner.stop()
        left = runner.drain(settings().drain_for_s)
    finally:
        _woken.discard(runner)
    if left:
        try_to_wake(COMMAND_QUEUED)


def stop_woken_runners() -> None:
    """This process is to end: have those that were woken hand over what they have, and answer."""
    _leaving.set()
    for runner in tuple(_woken):
        runner.stop()


def new_runner(*, resident: bool = False) -> "Runner":
    """A runner of its own name: one a process, or one a wake-up. One that is `resident` goes on
    sweeping while a huge folder is removed; any other sweeps once, and does all of it."""
    from rdev.domain.ids import new_id
    from rdev.services.archive import Archiver
    from rdev.services.aside import Aside
    from rdev.services.concluding import ArchiveRules
    from rdev.services.discovery import Discovery
    from rdev.services.rules import Rules
    from rdev.services.runner import Runner, RunnerRules

    s = settings()
    rules = RunnerRules(
        slots=s.runner_slots,
        lease_s=s.lease_s,
        renew_s=s.renew_s,
        sweep_s=s.sweep_s,
        max_concurrent=s.default_max_concurrent,
        following=Rules(kill_grace_s=s.kill_grace_s, workspace_s=s.workspace_start_s),
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
    discovery = Discovery(database().transaction, workspaces(), now=now)
    return Runner(
        name,
        database().transaction,
        tickets(),
        *stores,
        rules,
        archiver,
        lifecycle=lifecycle(),
        sweeps=(
            lifecycle().settle,
            lifecycle().stop_idle,
            Aside(removal().sweep) if resident else removal().sweep,
            discovery.adopt,
        ),
    )
