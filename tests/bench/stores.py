"""A Postgres of a bench's own: migrated, empty, and as durable as one that is meant."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rdev.config import SOURCE_ROOT
from rdev.platform import unprivileged
from rdev.platform.stores import Postgres, migrate

_READY_S = 60.0


@contextmanager
def postgres() -> Iterator[str]:
    """Its URL."""
    guest = unprivileged.account()
    place = Path(tempfile.mkdtemp(prefix="rdev-b-", dir="/tmp"))
    try:
        folder = place / "pg"
        folder.mkdir(mode=0o700)
        if guest:
            place.chmod(0o711)
            unprivileged.own_folder(folder, guest)
        server = Postgres(folder / "data", folder, unprivileged.installation(guest), guest)
        server.init()
        with (place / "log").open("wb") as log:
            process = server.spawn(server.command(), stdout=log.fileno())
        try:
            if not server.wait_ready(_READY_S, lambda: process.poll() is None):
                raise RuntimeError((place / "log").read_text())
            migrate(server.url(), SOURCE_ROOT / "migrations")
            yield server.url()
        finally:
            process.send_signal(signal.SIGQUIT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(place, ignore_errors=True)
