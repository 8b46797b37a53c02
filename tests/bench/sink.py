"""A receiver that is faster than whoever sends to it, in a process of its own.

`python -m bench.sink` prints its port. Every POST is answered by a bare 204. A body with
`"sent_ns": N` (of CLOCK_MONOTONIC, which all processes share) is timed; `GET /` answers what has
come since the last one, `{"count": n, "late_ms": [...]}`.
"""

import asyncio
import http.client
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SENT = re.compile(rb'"sent_ns":\s*(\d+)')


class _Connection(asyncio.Protocol):
    count = 0
    late_ms: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._unread = b""

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(self._unread, 0, end + 2)
            whole = end + 4 + (int(found[1]) if found else 0)
            if len(self._unread) < whole:
                return
            request, self._unread = self._unread[:whole], self._unread[whole:]
            self._answer(request, end + 4)

    def _answer(self, request: bytes, body_at: int) -> None:
        kind = _Connection
        if request.startswith(b"GET"):
            body = json.dumps({"count": kind.count, "late_ms": kind.late_ms}).encode()
            kind.count, kind.late_ms = 0, []
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
            self._transport.write(head + body)
            return
        self._transport.write(_NO_CONTENT)
        kind.count += 1
        if sent := _SENT.search(request, body_at):
            kind.late_ms.append((time.monotonic_ns() - int(sent[1])) / 1e6)


class Sink:
    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/hook"

    def taken(self) -> dict[str, Any]:
        """What has come since the last call."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/")
            taken: dict[str, Any] = json.loads(connection.getresponse().read())
            return taken
        finally:
            connection.close()


@contextmanager
def sink() -> Iterator[Sink]:
    with subprocess.Popen(
        [sys.executable, "-m", "bench.sink"],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            yield Sink(int(process.stdout.readline()))
        finally:
            process.kill()


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
