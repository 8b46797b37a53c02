"""A Postgres server of somebody's own: empty, in a folder that goes with it."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rdev.platform import unprivileged
from rdev.platform.stores import Postgres

_READY_S = 60.0


@contextmanager
def own_postgres(*options: str) -> Iterator[Postgres]:
    """`options`: as `-c` takes them; without any it is as durable as one that is meant."""
    guest = unprivileged.account()
    place = Path(tempfile.mkdtemp(prefix="rdev-p-", dir="/tmp"))
    try:
        folder = place / "pg"
        folder.mkdir(mode=0o700)
        if guest:
            place.chmod(0o711)
            unprivileged.own_folder(folder, guest)
        install = unprivileged.installation(guest)
        server = Postgres(folder / "data", folder, install, guest, options=options)
        server.init()
        with (place / "log").open("wb") as log:
            process = server.spawn(server.command(), stdout=log.fileno())
        try:
            if not server.wait_ready(_READY_S, lambda: process.poll() is None):
                raise RuntimeError((place / "log").read_text())
            yield server
        finally:
            process.send_signal(signal.SIGQUIT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(place, ignore_errors=True)
