"""What is read at /metrics: this process's instruments, and those of its neighbours.

OpenTelemetry's SDK is loaded when somebody reads, or where metrics are sent, never before.
"""

import atexit
import logging
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rdev.adapters.telemetry.neighbours import Neighbours
from rdev.adapters.telemetry.setup import exports, resource, sending
from rdev.ports import measuring
from rdev.ports.metrics import PROCESS_UP

if TYPE_CHECKING:
    from rdev.adapters.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_FLUSH_S = 2.0
_HEAD = b"# HELP "
_UP = PROCESS_UP.name.replace(".", "_").encode()


class Exposing:
    """One a process. `folder` is what it shares with its neighbours; None: it has none."""

    def __init__(self, version: str, process: str, folder: Path | None) -> None:
        self._version = version
        self._process = process
        self._lock = threading.Lock()
        self._metrics: Metrics | None = None
        self._handing_over = False
        self._up: list[measuring.Reading] = []
        self._neighbours = _neighbours(folder, process)
        self.name = self._neighbours.name if self._neighbours else f"{process}-0"

    def start(self) -> None:
        measuring.when_much_waits(self._hand_over_soon)
        PROCESS_UP.watch(lambda: self._up)
        if self._neighbours:
            try:
                self._neighbours.answer(lambda: self._read().exposition())
            except OSError as exc:
                log.warning("this process is missing in /metrics of others: %s", exc)
        if exports("METRICS"):
            self._read()
            atexit.register(self.stop)

    def exposition(self) -> bytes:
        """Prometheus' text of this process and of its neighbours. A neighbour that hangs costs
        two seconds, and is told as not up."""
        said = self._neighbours.ask() if self._neighbours else {}
        up = {name: float(text is not None) for name, text in said.items()}
        self._up = [((name,), value) for name, value in {**up, self.name: 1.0}.items()]
        own = self._read().exposition()
        return together(own, [text for text in said.values() if text is not None])

    def stop(self) -> None:
        """Send what was measured and not sent, for two seconds at most."""
        if self._neighbours:
            self._neighbours.leave()
        metrics, self._metrics = self._metrics, None
        if metrics is not None:
            last = threading.Thread(target=metrics.provider.shutdown, daemon=True)
            with suppress(RuntimeError):  # the interpreter is too far gone for threads
                last.start()
                last.join(_FLUSH_S)

    def _read(self) -> "Metrics":
        with self._lock:
            if self._metrics is None:
                from rdev.adapters.telemetry.metrics import Metrics

                sends = resource(self._version, self._process, self.name)
                self._metrics = Metrics(self._version, self.name, sends, sending())
            return self._metrics

    def _hand_over_soon(self) -> None:
        if not self._handing_over:
            self._handing_over = True
            threading.Thread(target=self._hand_over, name="rdev-metrics", daemon=True).start()

    def _hand_over(self) -> None:
        try:
            self._read().hand_over()
        finally:
            self._handing_over = False


def _neighbours(folder: Path | None, process: str) -> Neighbours | None:
    if folder is None:
        return None
    try:
        return Neighbours(folder, process)
    except OSError as exc:
        log.warning("/metrics tells of this process alone, %s cannot be used: %s", folder, exc)
        return None


def together(own: bytes, others: Iterable[bytes]) -> bytes:
    """Several expositions as one: a family's samples stand together, under one heading. Who is up
    is for the one to say that asked."""
    families: dict[bytes, list[bytes]] = {}
    for text in (own, *others):
        for family in text.split(_HEAD)[1:]:
            about, kind, samples = family.split(b"\n", 2)
            name = about.split(b" ", 1)[0]
            if text is own or name != _UP:
                families.setdefault(name, [_HEAD, about, b"\n", kind, b"\n"]).append(samples)
    return b"".join(part for parts in families.values() for part in parts)
