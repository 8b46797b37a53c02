"""How the websocket of an exec is reached: TLS, proxy and handshake, as the cluster's client is
configured. All of it within one time, and no answer of more than a few kB.

Imports websocket-client, so it is itself imported at the first exec.
"""

import base64
import socket
import ssl
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from websocket import (
    WebSocket,
    WebSocketBadStatusException,
    WebSocketException,
    WebSocketTimeoutException,
)

from rdev.adapters.workspaces.kubernetes.access import authorization
from rdev.adapters.workspaces.kubernetes.api import NodeSilent, refusal
from rdev.adapters.workspaces.kubernetes.exec_wire import Wire, WireBroken
from rdev.adapters.workspaces.kubernetes.pod_ref import PodRef
from rdev.errors import WorkspaceUnavailable

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, Configuration

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
_ANSWER_BYTES = 65536
_KERNEL_BYTES = 256 * 1024
"""What the kernel keeps of output that nobody has read, as far as it listens."""


def connect(
    client: "ApiClient", ref: PodRef, argv: Sequence[str], connect_s: float
) -> tuple[Wire, str]:
    """The connection, and which of the protocols it speaks. Raises WorkspaceUnavailable."""
    configuration = client.configuration
    path = f"/api/v1/namespaces/{quote(ref.namespace)}/pods/{quote(ref.name)}/exec"
    headers = {"User-Agent": "rdev", **authorization(client, "GET", path)}
    made = _Connecting(time.monotonic() + connect_s, _tls(configuration))
    try:
        made.connect(  # type: ignore[no-untyped-call] # theirs
            f"ws{configuration.host.removeprefix('http')}{path}?{_query(ref, argv)}",
            timeout=connect_s,
            header=headers,
            subprotocols=[V5, V4],
            suppress_origin=True,
            redirect_limit=0,  # else the token would go wherever an answer says
            **_proxy(configuration),
        )
    except WebSocketBadStatusException as exc:
        raise _refusal(exc) from exc
    except (TimeoutError, WebSocketTimeoutException) as exc:
        silent = NodeSilent if made.reached else WorkspaceUnavailable
        raise silent(f"The pod cannot be entered: no answer within {connect_s:g} s.") from exc
    except (WebSocketException, OSError, ValueError) as exc:
        # Their words name the address, never the token.
        raise WorkspaceUnavailable(f"The pod cannot be entered: {exc}") from exc
    assert made.sock is not None
    return made.sock.wire, str(made.subprotocol)


class _Handshake:
    """A wire as the library's handshake uses its socket."""

    def __init__(self, wire: Wire, until: float) -> None:
        self.wire = wire
        self._until = until
        self._left = _ANSWER_BYTES

    def recv(self, size: int) -> bytes:
        came = self.wire.read(size, self._until)
        self._left -= len(came)
        if self._left < 0:
            raise WireBroken("the answer is too long")
        return came

    def send(self, data: bytes) -> int:
        self.wire.write(data, self._until)
        return len(data)

    def gettimeout(self) -> None:
        return None

    def close(self) -> None:
        self.wire.break_off("it was refused")


class _Connecting(WebSocket):
    def __init__(self, until: float, tls: dict[str, Any]) -> None:
        self._until = until
        self._sock: _Handshake | None = None
        self.reached = False
        """Whether there was a connection, however the handshake went."""
        listening = (socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BYTES)
        super().__init__(sockopt=[listening], sslopt=tls)

    # The library puts its socket here before it shakes hands; its own limit is for each byte.
    @property  # type: ignore[override] # as much of a socket as it uses
    def sock(self) -> _Handshake | None:
        return self._sock

    @sock.setter
    def sock(self, raw: socket.socket | None) -> None:
        self.reached = self.reached or raw is not None
        self._sock = None if raw is None else _Handshake(Wire(raw), self._until)


def _query(ref: PodRef, argv: Sequence[str]) -> str:
    asked = [("container", ref.container), ("stdin", "true"), ("stdout", "true")]
    asked += [("stderr", "true"), *(("command", each) for each in argv)]
    return urlencode(asked, errors="surrogateescape")


def _refusal(answer: WebSocketBadStatusException) -> WorkspaceUnavailable:
    said = answer.resp_body or (answer.status_message or "").encode()
    retry_after = (answer.resp_headers or {}).get("retry-after")
    return refusal(answer.status_code, retry_after, said, of_another=True)


def _tls(configuration: "Configuration") -> dict[str, Any]:
    options: dict[str, Any] = {"cert_reqs": ssl.CERT_NONE}
    if configuration.verify_ssl:
        options = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": configuration.ssl_ca_cert}
        if configuration.assert_hostname is not None:
            options["check_hostname"] = configuration.assert_hostname
    named = {
        "certfile": configuration.cert_file,
        "keyfile": configuration.key_file,
        "server_hostname": configuration.tls_server_name,
    }
    return options | {name: value for name, value in named.items() if value}


def _proxy(configuration: "Configuration") -> dict[str, Any]:
    if not configuration.proxy:
        return {}
    proxy = urlsplit(configuration.proxy)
    options: dict[str, Any] = {
        "http_proxy_host": proxy.hostname,
        "http_proxy_port": proxy.port or 80,
        "http_no_proxy": [each.strip() for each in (configuration.no_proxy or "").split(",")],
    }
    kind, _, said = (
        (configuration.proxy_headers or {}).get("proxy-authorization", "").partition(" ")
    )
    if kind == "Basic":
        options["http_proxy_auth"] = tuple(base64.b64decode(said).decode().split(":", 1))
    return options
