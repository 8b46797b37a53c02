"""A client as one should be: it submits with an Idempotency-Key until it is accepted, reads the
stream beside that, cancels some, and fetches the output after the end."""

import hashlib
import json
import math
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from chaos.load import Work, any_work, written
from chaos.reader import Book, Reader

PROJECT = "load"
FINAL = ("succeeded", "failed", "cancelled", "timed_out", "lost")
_PATIENCE_S = 300.0
_READER_PATIENCE_S = 60.0


@dataclass
class Case:
    """One command: what it was to do, and what came of it."""

    tag: str
    work: Work
    key: str
    priority: str
    timeout_s: float | None = None
    cancel_after_s: float | None = None
    project: str = PROJECT
    command_id: str = ""
    submissions: int = 0
    record: dict[str, Any] = field(default_factory=dict)
    book: Book | None = None
    fetched: dict[str, str] = field(default_factory=dict)
    """SHA-256 by stream of what GET output gave right after the end."""
    fetched_later: dict[str, str] = field(default_factory=dict)
    """The same at the end of the run."""
    problem: str = ""

    def written(self) -> dict[str, bytes]:
        """All that it is to write, by stream."""
        return written(self.work)

    def line(self, folder: Path) -> str:
        """Its shell command; the workspaces lie in this folder."""
        script = f"exec {sys.executable} {folder / 'load.py'} '{self.work.as_json()}'"
        # The counter first: one line a start, whatever comes after it.
        return f"echo {self.tag} >>{folder.parent.parent / 'counter'}; {script}"


class Client:
    """`unanswered` counts requests that had to be made again, by status; 0: no whole answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.unanswered: Counter[int] = Counter()
        self.calm = threading.Event()
        """That there are no more faults: what is not there by and by now never will be."""

    def call(
        self, method: str, path: str, key: str, body: Any = None, **headers: str
    ) -> tuple[int, bytes]:
        """One request, no matter how it ends: status 0 where there was no whole answer."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=20)
        sent = {"X-API-Key": key, "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, body=data, headers=sent)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, HTTPException):
            return 0, b""
        finally:
            connection.close()

    def insist(
        self, method: str, path: str, key: str, body: Any = None, **headers: str
    ) -> tuple[int, bytes]:
        """Again until there is an answer that is not of the passing kind."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            status, answer = self.call(method, path, key, body, **headers)
            if status not in (0, 429, 500, 502, 503) or time.monotonic() > until:
                return status, answer
            self.unanswered[status] += 1
            time.sleep(0.1)

    def see_through(self, case: Case, folder: Path, place: threading.Semaphore) -> None:
        """Holds a place until the record is closed; its reader may come later."""
        try:
            with place:
                found = self._see_through(case, folder)
            if found is None:
                return
            reader, reading = found
            self.calm.wait()
            reader.until = time.monotonic() + _READER_PATIENCE_S
            reading.join(2 * _READER_PATIENCE_S)
        except Exception as exc:  # noqa: BLE001 - it goes into the report
            case.problem = f"client: {exc!r}"

    def _see_through(self, case: Case, folder: Path) -> tuple[Reader, threading.Thread] | None:
        status, answer = self.insist(
            "POST",
            f"/projects/{case.project}/shell",
            case.key,
            self._body(case, folder),
            Idempotency_Key=case.tag,
        )
        if status not in (200, 202):
            case.problem = f"not accepted: {status} {answer[:200]!r}"
            return None
        case.command_id = json.loads(answer)["data"]["id"]
        until = time.monotonic() + _PATIENCE_S
        place = (self._port, case.key, case.project, case.command_id)
        reader = Reader(*place, seed=case.work.seed, until=math.inf)
        case.book = reader.book
        reading = threading.Thread(target=reader.read, daemon=True)
        reading.start()
        if case.cancel_after_s is not None:
            time.sleep(case.cancel_after_s)
            self.insist("POST", f"{self._path(case)}/cancel", case.key)
        case.record = self._await_end(case, until)
        case.fetched = self.fetch(case)
        return reader, reading

    def _await_end(self, case: Case, until: float) -> dict[str, Any]:
        record: dict[str, Any] = {}
        while record.get("status") not in FINAL and time.monotonic() < until:
            status, answer = self.insist("GET", self._path(case), case.key)
            if status == 200:
                record = json.loads(answer)["data"]
            time.sleep(0.1)
        return record

    def fetch(self, case: Case) -> dict[str, str]:
        found = {}
        for stream in ("stdout", "stderr"):
            path = f"{self._path(case)}/output?stream={stream}"
            status, answer = self.insist("GET", path, case.key)
            for _ in range(20):  # what was announced is there, if perhaps not at once
                if status == 200:
                    break
                time.sleep(0.1)
                status, answer = self.insist("GET", path, case.key)
            found[stream] = hashlib.sha256(answer).hexdigest() if status == 200 else str(status)
        return found

    def _path(self, case: Case) -> str:
        return f"/projects/{case.project}/commands/{case.command_id}"

    def _body(self, case: Case, folder: Path) -> dict[str, Any]:
        case.submissions += 1
        body: dict[str, Any] = {"command": case.line(folder), "priority": case.priority}
        if case.timeout_s is not None:
            body["timeout_s"] = case.timeout_s
        return body


def any_case(
    number: int, random_: random.Random, keys: list[str], make: Callable[..., Case] = Case
) -> Case:
    """Most end by themselves; one in eight is cancelled, one in sixteen runs into its limit."""
    kind = random_.choices(["itself", "cancel", "timeout"], [13, 2, 1])[0]
    work = any_work(random_, "itself" if kind == "itself" else "never")
    return make(
        tag=f"case-{number}",
        work=work,
        key=random_.choice(keys),
        priority=random_.choices(["high", "normal", "low"], [1, 4, 1])[0],
        timeout_s=random_.uniform(0.5, 3.0) if kind == "timeout" else None,
        cancel_after_s=random_.uniform(0.0, 3.0) if kind == "cancel" else None,
    )
