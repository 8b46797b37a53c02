"""A Valkey of a test's own, that can be lost with all its data."""

import subprocess
from pathlib import Path

from rdev.platform.stores import Valkey


class OwnValkey:
    def __init__(self, folder: Path) -> None:
        self._server = Valkey(folder, folder / "v.sock")
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.url = self._server.url

    def start(self) -> None:
        self._process = process = subprocess.Popen(
            self._server.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert self._server.wait_ready(30, lambda: process.poll() is None)

    def lose(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for path in self._folder.rglob("*"):
            if path.is_file() or path.is_socket():
                path.unlink(missing_ok=True)
