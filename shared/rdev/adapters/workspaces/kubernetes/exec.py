"""Processes in containers: the project's own driver of pods/exec.

Three byte streams over one websocket, and how it ended. What the Python client's own exec does
not: bytes as they are, memory that does not grow with the output, pings, a limit to every wait,
and no outcome made up where the connection ended without one. A lost connection does not kill the
process in the pod, and neither does `close`.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Self

from rdev.adapters.workspaces.kubernetes.api import Api, ApiRefused
from rdev.adapters.workspaces.kubernetes.exec_pulse import Pulse
from rdev.adapters.workspaces.kubernetes.exec_status import ExecEnded, exec_status
from rdev.adapters.workspaces.kubernetes.exec_wire import WireBroken
from rdev.adapters.workspaces.kubernetes.pod_ref import PodRef
from rdev.errors import WorkspaceUnavailable

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

    from rdev.adapters.workspaces.kubernetes.exec_socket import ExecSocket

STDIN, STDOUT, STDERR = 0, 1, 2
_STATUS, _CLOSE = 3, 255
_SENT_BYTES = 32768
_STATUS_BYTES = 65536
_LAST_WORDS_S = 2.0
"""So long after the status the connection may stay open."""
_UNAUTHORIZED = 401


class Execs:
    """One a process, for all its threads; at most one thread of its own, while execs are open.

    `api`: whose circuit breaker counts how opening went; None for none. `connect_s` is for opening.
    After `ping_s` of silence the API server is asked for a sign of life; after `silence_s` without
    one the connection is given up. A process that does not read what it was sent can look like
    that, too: the API server takes nothing more then, not even pings.
    """

    def __init__(
        self,
        client: "Callable[[], ApiClient]",
        api: Api | None,
        *,
        connect_s: float = 10.0,
        ping_s: float = 20.0,
        silence_s: float = 60.0,
    ) -> None:
        self._make_client = client
        self._client: ApiClient | None = None
        self._lock = threading.Lock()
        self._api = api
        self._connect_s = connect_s
        self._pulse = Pulse(ping_s, silence_s)

    def open(self, ref: PodRef, argv: Sequence[str]) -> "Exec":
        """Begin `argv` in the pod's container. Whether it did is said by what is received.

        By the pod's name: that it is still the one `ref` means is for `argv` to find out. Raises
        WorkspaceUnavailable where it is refused (ApiRefused), not in time, or not to be had.
        """
        from rdev.adapters.workspaces.kubernetes.exec_handshake import V5, connect
        from rdev.adapters.workspaces.kubernetes.exec_socket import ExecSocket

        with self._api.guarded() if self._api else nullcontext():
            try:
                wire, protocol = connect(self._connected(), ref, argv, self._connect_s)
            except ApiRefused as exc:
                if exc.status == _UNAUTHORIZED:  # what it was told may be out of date
                    self.close()
                raise
        socket = ExecSocket(wire)
        self._pulse.watch(socket)
        return Exec(socket, half_close=protocol == V5)

    def close(self) -> None:
        """Forget how the cluster is reached; open execs stay."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.rest_client.close()

    def _connected(self) -> "ApiClient":
        """Only told from, never called: so one does for all threads, and its token is renewed."""
        with self._lock:
            if self._client is None:
                self._client = self._make_client()
            return self._client


class Exec:
    """A process in a container, as far as this connection knows. One thread sends and one receives,
    in any order; any thread closes. To be closed when done with."""

    def __init__(self, socket: "ExecSocket", *, half_close: bool) -> None:
        self.half_close = half_close
        """Whether `close_stdin` can be had: from protocol v5 on."""
        self._socket = socket
        self._channel: int | None = None
        self._status = b""
        self._ends_at = math.inf
        self._over: str | None = None

    def send(self, data: bytes, timeout_s: float = 10.0) -> None:
        """To the process's stdin. Raises WorkspaceUnavailable where not all of it went in time, or
        nobody takes it; how much arrived is then not known, and the connection of no more use."""
        until = time.monotonic() + timeout_s
        for at in range(0, len(data), _SENT_BYTES):
            self._write(bytes([STDIN]) + data[at : at + _SENT_BYTES], until)

    def close_stdin(self, timeout_s: float = 10.0) -> bool:
        """The process reads an end of file after what was sent. False where this protocol cannot
        say so. Raises as `send` does."""
        if self.half_close:
            self._write(bytes([_CLOSE, STDIN]), time.monotonic() + timeout_s)
        return self.half_close

    def receive(self, timeout_s: float) -> tuple[int, bytes] | None:
        """What came of STDOUT or STDERR, in the order it came; None where nothing did in time.

        At the end raises ExecEnded where the cluster said how it ended, and WorkspaceUnavailable
        where it did not: then the process may have done all, some or nothing, or still run.
        """
        until = time.monotonic() + timeout_s
        while self._over is None:
            try:
                first, data = self._socket.receive(min(until, self._ends_at))
            except TimeoutError:
                if time.monotonic() < self._ends_at:
                    return None
                self._end("it stayed open")
            except WireBroken as exc:
                self._end(str(exc))
            else:
                came = self._taken(first, data)
                if came or time.monotonic() >= until:
                    return came
        raise self._outcome()

    def close(self) -> None:
        """From any thread; whoever waits in `receive` or `send` stops at once. The process is not
        killed by it: it reads the end of its input."""
        self._end(self._over or "it was closed here")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _taken(self, first: bool, data: bytes) -> tuple[int, bytes] | None:
        """A part of a message; its channel is the message's first byte."""
        if first:
            self._channel = None
        if self._channel is None and data:
            self._channel, data = data[0], data[1:]
        if self._channel == _STATUS and data:
            self._status = (self._status + data)[:_STATUS_BYTES]
        if self._status:
            self._ends_at = time.monotonic() + _LAST_WORDS_S
        # Others are of no use here: the server's own ends of streams, and channels to come.
        return (self._channel, data) if self._channel in (STDOUT, STDERR) and data else None

    def _write(self, message: bytes, until: float) -> None:
        try:
            self._socket.send(message, until)
        except TimeoutError as exc:
            self._socket.close("what was sent to it was not taken in time")
            raise WorkspaceUnavailable(
                "The pod did not take what was sent to it in time; the connection is closed."
            ) from exc
        except WireBroken as exc:
            raise WorkspaceUnavailable(f"The connection to the pod is lost: {exc}.") from exc

    def _end(self, why: str) -> None:
        self._over = why
        self._socket.close(why)

    def _outcome(self) -> Exception:
        if status := exec_status(self._status):
            return ExecEnded(status)
        said = " The cluster's last words are no Status." if self._status else ""
        return WorkspaceUnavailable(
            f"The connection to the pod was lost: {self._over}.{said} What the command did is not "
            "known; it may still run."
        )
