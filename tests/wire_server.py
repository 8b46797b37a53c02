"""A small real HTTP server that speaks rdev's wire format as a script tells it to.

For the client's and the CLI's own tests: it can break connections where the real one will not.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "rdev_" + "a" * 38
COMMAND = "cmd-1"


def record(status: str = "queued", **more: Any) -> dict[str, Any]:
    return {"id": COMMAND, "project": "demo", "kind": "shell", "status": status, **more}


def output(offset: int, text: str, stream: str = "stdout", **more: Any) -> dict[str, Any]:
    return {"command_id": COMMAND, "stream": stream, "offset": offset, "data": text, **more}


def finished(status: str = "succeeded", **more: Any) -> tuple[str, str, dict[str, Any]]:
    command = record(status, **{"exit_code": 0 if status == "succeeded" else None, **more})
    return ("9-9", "command.finished", {"command": command})


@dataclass
class Seen:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Script:
    """What the server does. Everything that it was asked is in `seen`."""

    events: list[tuple[str, str, Any]] = field(default_factory=list)
    """(id, type, data); the type `wait` holds the stream until a cancel arrives, `wait for input`
    until the input is closed."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes each successive event connection is broken off."""
    refusals: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    """By "METHOD /path": what the next requests are answered with; status 0 breaks off."""
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    downloads: dict[str, bytes] = field(default_factory=dict)
    """By stream."""
    seen: list[Seen] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    input: bytes = b""
    input_closed: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def asked(self, method: str, path: str) -> list[Seen]:
        return [each for each in self.seen if (each.method, each.path) == (method, path)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Script

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self, method: str) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        bare = headers.get("content-type") == "application/octet-stream"
        body = raw if bare else json.loads(raw) if raw else None
        self.script.seen.append(Seen(method, parts.path, query, headers, body))
        what = f"{method} {parts.path}"
        waiting = self.script.refusals.get(what)
        if waiting:
            self._refuse(*waiting.pop(0))
        elif headers.get("authorization") != f"Bearer {KEY}":
            self._refuse(401, {})
        elif what in self.script.answers:
            self._send(*self.script.answers[what])
        elif parts.path.endswith("/events"):
            self._stream(headers.get("last-event-id"))
        elif parts.path.endswith("/output"):
            self._download(self.script.downloads[query["stream"]], headers.get("range"))
        elif parts.path.endswith("/cancel"):
            self.script.cancelled.set()
            self._send(202, {"data": record("running")})
        elif parts.path.endswith("/input"):
            self._take_input(int(query["offset"]), raw, closes=query["close"] == "true")
        elif method == "POST" and parts.path == "/projects/demo/shell":
            self._send(202, {"data": {"id": COMMAND, "stream_id": COMMAND, "status": "queued"}})
        else:
            self._refuse(404, {})

    def _take_input(self, offset: int, data: bytes, *, closes: bool) -> None:
        script = self.script
        script.input += data[len(script.input) - offset :]
        self._send(202, {"data": {"offset": len(script.input), "closed": closes}})
        if closes:
            script.input_closed.set()

    def _refuse(self, status: int, headers: dict[str, str]) -> None:
        if status == 0:
            self.close_connection = True
            return
        error = {"code": f"CODE_{status}", "message": f"refused with {status}"}
        meta = {"request_id": "req-1"}
        self._send(status, {"error": error, "meta": meta}, headers)

    def _send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        payload = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def _stream(self, last_id: str | None) -> None:
        events = self.script.events
        ids = [each[0] for each in events]
        start = ids.index(last_id) + 1 if last_id in ids else 0
        if start and events[start - 1][1] == "command.finished":
            self.send_response(204)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        left = self.script.cuts.pop(0) if self.script.cuts else 1 << 60
        self._chunk(b": hello\n\nretry: 2000\n\n")
        for id_, type_, data in events[start:]:
            if type_ == "wait":
                self.script.cancelled.wait(30)
                continue
            if type_ == "wait for input":
                self.script.input_closed.wait(30)
                continue
            frame = f"id: {id_}\nevent: {type_}\ndata: {json.dumps(data)}\n\n".encode()
            self._chunk(frame[:left])
            left -= len(frame)
            if left <= 0:
                self.close_connection = True
                return
        self._chunk(b"")
        self.close_connection = True

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _download(self, data: bytes, range_: str | None) -> None:
        start = int(range_.removeprefix("bytes=").removesuffix("-")) if range_ else 0
        self.send_response(206 if range_ else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.script.cuts:
            self.wfile.write(data[start : start + self.script.cuts.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(data[start:])


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that leave in the middle are what is tested


@contextmanager
def wire_server() -> Iterator[Script]:
    """A server on a free port of this machine, for the block."""
    script = Script()
    handler = type("Handler", (_Handler,), {"script": script})
    with _Server(("127.0.0.1", 0), handler) as server:
        script.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield script
        finally:
            script.cancelled.set()
            script.input_closed.set()
            server.shutdown()
            thread.join()
