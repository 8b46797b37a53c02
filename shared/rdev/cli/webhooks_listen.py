"""`rdev webhooks listen`: a receiver to try webhooks with, which prints and verifies what comes."""

import json
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rdev.cli import options
from rdev.cli.terminal import (
    STDOUT,
    Interrupts,
    complain,
    die_of_broken_pipe,
    leave,
    write_all,
)

if TYPE_CHECKING:
    from standardwebhooks import Webhook

_LARGEST = 1024 * 1024
_QUIET_S = 60.0
_SHOWN = 500

Port = Annotated[
    int, typer.Option("--port", min=0, max=65535, help="The port to listen on; 0 finds a free one.")
]
Host = Annotated[str, typer.Option("--host", help="The address to listen on.")]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        "--secret-file",
        metavar="PATH",
        # No --secret: arguments can be read by everybody on the machine.
        help="A file with the endpoint's secret, or several, one a line; else "
        "RDEV_WEBHOOK_SECRET. Without one nothing is verified.",
    ),
]


def listen(
    *,
    port: Port = 8099,
    host: Host = "127.0.0.1",
    secret_file: SecretFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Receive webhooks here: print each in a line and verify its signature. Ctrl-C ends it."""
    try:
        checks = _checks(_secrets(secret_file))
        receiver = _Receiver((host, port), checks, as_json=as_json)
    except (OSError, ValueError) as exc:
        complain(_why(exc, host, port))
        raise typer.Exit(1) from None
    with receiver, Interrupts(receiver.end, lambda: leave(130)):
        shown = f"[{host}]" if ":" in host else host
        verified = "" if checks else ", verifying nothing: there is no secret"
        complain(f"listening on http://{shown}:{receiver.server_port}/{verified}; Ctrl-C ends it")
        receiver.serve_forever(poll_interval=0.2)
    if receiver.unread:
        die_of_broken_pipe()


class _Receiver(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, address: tuple[str, int], checks: "Sequence[Webhook]", *, as_json: bool
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Request)
        self.checks = checks
        self.unread = False
        """Whether nobody reads our stdout any more."""
        self._as_json = as_json
        self._printing = threading.Lock()

    def end(self) -> None:
        """Stop serving. From another thread, since shutdown waits for the loop that it ends."""
        threading.Thread(target=self.shutdown, daemon=True).start()

    def show(self, headers: Mapping[str, str], body: bytes, problem: str | None) -> None:
        render = _as_json if self._as_json else _as_line
        line = render(headers, body, problem, verified=bool(self.checks)) + "\n"
        with self._printing:
            try:
                write_all(STDOUT, line.encode(errors="replace"))
            except BrokenPipeError:
                self.unread = True
                self.end()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that went away in the middle is no news."""


class _Request(BaseHTTPRequestHandler):
    server: _Receiver
    protocol_version = "HTTP/1.1"
    timeout = _QUIET_S

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not (length.isascii() and length.isdecimal()):
            self._answer(HTTPStatus.LENGTH_REQUIRED, close=True)
            return
        if len(length) > len(str(_LARGEST)) or int(length) > _LARGEST:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, close=True)
            return
        body = self.rfile.read(int(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        problem = _problem(self.server.checks, headers, body)
        self.server.show(headers, body, problem)
        self._answer(HTTPStatus.UNAUTHORIZED if problem else HTTPStatus.NO_CONTENT)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        pass

    def _answer(self, status: HTTPStatus, *, close: bool = False) -> None:
        self.send_response(status)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", "0")
        if close:
            self.send_header("Connection", "close")
        self.end_headers()


def _problem(checks: "Sequence[Webhook]", headers: dict[str, str], body: bytes) -> str | None:
    """Why the signature is not right by any of the secrets; None where it is, or there is none."""
    from standardwebhooks import WebhookVerificationError

    problem = None
    for check in checks:
        try:
            check.verify(body, headers, json_parse=False)
        except (WebhookVerificationError, ValueError) as exc:
            problem = str(exc) or type(exc).__name__
        else:
            return None
    return problem


def _as_line(
    headers: Mapping[str, str], body: bytes, problem: str | None, *, verified: bool
) -> str:
    event = _parsed(body)
    said = f"NOT VERIFIED ({problem})" if problem else "verified" if verified else "not checked"
    data = json.dumps(event.get("data", event), ensure_ascii=False)
    data = data if len(data) <= _SHOWN else f"{data[:_SHOWN]}…"
    kind = str(event.get("type", "?"))
    line = (
        f"{event.get('timestamp', '-')}  {headers.get('webhook-id', '-')}  {said}  {kind}  {data}"
    )
    # Whatever a stranger sends must not steer the terminal.
    return "".join(c if c.isprintable() else " " for c in line)


def _as_json(
    headers: Mapping[str, str], body: bytes, problem: str | None, *, verified: bool
) -> str:
    return json.dumps(
        {
            "id": headers.get("webhook-id"),
            "verified": problem is None if verified else None,
            "problem": problem,
            "event": _parsed(body),
        }
    )


def _parsed(body: bytes) -> dict[str, Any]:
    """The event; what is no JSON object is shown as its data."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        event = body.decode(errors="replace")
    return event if isinstance(event, dict) else {"data": event}


def _secrets(file: Path | None) -> list[str]:
    text = file.read_text() if file else os.environ.get("RDEV_WEBHOOK_SECRET", "")
    return text.split()


def _checks(secrets: Sequence[str]) -> "list[Webhook]":
    from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

    try:
        return [Webhook(secret) for secret in secrets]
    except (ValueError, EmptyWebhookSecretError):
        raise ValueError("The secret must be `whsec_` and base64, as it was shown.") from None


def _why(exc: Exception, host: str, port: int) -> str:
    if isinstance(exc, OSError) and exc.filename:
        return f"the secret file {exc.filename} cannot be read: {exc.strerror}"
    if isinstance(exc, OSError):
        return f"cannot listen on {host}, port {port}: {exc.strerror}. Choose another with --port."
    return str(exc)
