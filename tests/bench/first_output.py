"""From a command's submission to the first byte of its output, idle, over HTTP and SSE; against
`Popen` of the same line."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from statistics import median

from bench.rows import Row, in_turn
from live_stack import running_stack

LINE = "echo hi"
TIMES = 60
_PAUSE_S = 0.05


def rows() -> Iterator[Row]:
    with running_stack() as stack:
        secret = stack.key("projects:read", "projects:execute").secret
        assert secret is not None
        client = _Client(stack.port, secret)
        client.first_output_s()  # the first of all pays for what is loaded then
        reference, whole = in_turn(lambda: _p50(_popen_s), lambda: _p50(client.first_output_s))
        accepted = _p50(client.accepted_s)
        client.close()
    what = "submit to first output, idle, over HTTP and SSE, p50"
    yield Row(what, 1000 * reference, 1000 * whole, "ms", goal=10, at_most=True)
    yield Row("of that: to its 202, p50", 1000 * reference, 1000 * accepted, "ms")


def _p50(measure: Callable[[], float]) -> float:
    taken = []
    for _ in range(TIMES):
        taken.append(measure())
        time.sleep(_PAUSE_S)  # idle: what the one before left to do is done
    return median(taken)


def _popen_s() -> float:
    began = time.perf_counter()
    with subprocess.Popen(["sh", "-c", LINE], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"h"
        return time.perf_counter() - began


class _Client:
    """As a careful one is: its connections stay open from one command to the next."""

    def __init__(self, port: int, secret: str) -> None:
        self._api, self._events = (HTTPConnection("127.0.0.1", port, timeout=60) for _ in "12")
        self._headers = {"X-API-Key": secret, "Content-Type": "application/json"}

    def first_output_s(self) -> float:
        began = time.perf_counter()
        command_id = self._submit()
        self._events.request(
            "GET", f"/projects/demo/events?stream_id={command_id}", headers=self._headers
        )
        with self._events.getresponse() as response:
            assert response.status == 200, response.read()
            while (line := response.readline()) != b"event: output\n":
                assert line, "the stream ended before there was output"
            took_s = time.perf_counter() - began
            while response.readline():  # to its end: the command is over then
                pass
        return took_s

    def accepted_s(self) -> float:
        began = time.perf_counter()
        self._submit()
        return time.perf_counter() - began

    def _submit(self) -> str:
        body = json.dumps({"command": LINE}).encode()
        self._api.request("POST", "/projects/demo/shell", body, self._headers)
        with self._api.getresponse() as response:
            answer = response.read()
            assert response.status == 202, answer
            return str(json.loads(answer)["data"]["id"])

    def close(self) -> None:
        self._api.close()
        self._events.close()
