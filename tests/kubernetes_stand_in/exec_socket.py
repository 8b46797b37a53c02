"""The server's end of pods/exec: channels in a websocket, as v4 and v5.channel.k8s.io have them.

Behaves as API server, kubelet and containerd do together: an empty first frame says that the
connection stands, a broken connection ends the process's stdin and not the process, the status
comes when nobody holds the output any more.
"""

import json
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
STDIN, STDOUT, STDERR, STATUS, _RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


@dataclass
class Fault:
    """What befalls one exec connection when so many bytes went over it, frames and all, after the
    handshake. `frozen`: nothing more moves, and nothing is closed."""

    sent: int | None = None
    received: int | None = None
    frozen: bool = False


@dataclass(eq=False)
class Wire:
    """A socket that breaks where it is told to."""

    socket: socket.socket
    fault: Fault = field(default_factory=Fault)
    lock: threading.Lock = field(default_factory=threading.Lock)
    thawed: threading.Event = field(default_factory=threading.Event)
    sent = 0
    received = 0

    def send(self, data: bytes) -> None:
        limit = self.fault.sent
        if limit is not None and self.sent + len(data) >= limit:
            self._out(data[: max(0, limit - self.sent)])
            self._strike()
        self._out(data)

    def _out(self, data: bytes) -> None:
        self.socket.sendall(data)
        self.sent += len(data)

    def receive(self) -> bytes:
        limit = self.fault.received
        if limit is not None and self.received >= limit:
            self._strike()
        data = self.socket.recv(65536)
        limit = self.fault.received  # anew: it may have frozen while this waited
        if limit is not None and data:
            data = data[: max(0, limit - self.received)]
            if not data:
                self._strike()
        self.received += len(data)
        return data

    def _strike(self) -> None:
        if self.fault.frozen:
            self.thawed.wait()
        self.cut()
        raise ConnectionResetError("cut")

    def freeze(self) -> None:
        self.fault = Fault(sent=0, received=0, frozen=True)

    def cut(self) -> None:
        self.thawed.set()
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is closed already


class ExecSocket:
    """One exec: from the accepted handshake to the status."""

    def __init__(
        self,
        wire: Wire,
        headers: Iterable[tuple[str, str]],
        path: str,
        speaks: Iterable[str] = (V5, V4),
    ) -> None:
        self._wire = wire
        self._ws = WSConnection(ConnectionType.SERVER)
        raw = [(name.encode(), value.encode()) for name, value in headers]
        self._ws.initiate_upgrade_connection(raw, path.encode())
        request = next(iter(self._ws.events()))
        asked = getattr(request, "subprotocols", [])
        self.protocol = next((each for each in speaks if each in asked), None)

    def accept(self) -> None:
        # Past the wire: faults count from behind the handshake.
        self._wire.socket.sendall(self._ws.send(AcceptConnection(subprotocol=self.protocol)))
        self._frame(STDOUT, b"")

    def refuse(self, message: str) -> None:
        """The process cannot be begun: the status says so."""
        self._end(failure("InternalError", message, code=500))

    def serve(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        outputs = [
            threading.Thread(target=self._copy, args=(STDOUT, process.stdout)),
            threading.Thread(target=self._copy, args=(STDERR, process.stderr)),
        ]
        feeding = threading.Thread(target=self._feed, args=(process.stdin,), daemon=True)
        for each in (*outputs, feeding):
            each.start()
        for each in outputs:
            each.join()
        code = process.wait()
        try:
            self._end(status_of(code if code >= 0 else 128 - code))
        except OSError:
            self._wire.cut()
        feeding.join(5)

    def _copy(self, channel: int, output: IO[bytes]) -> None:
        """Reads on when nobody takes it any more: the process is not to hang on that."""
        broken = False
        with output:
            while data := output.read1(32768):  # type: ignore[attr-defined] # buffered
                try:
                    if not broken:
                        self._frame(channel, data)
                except OSError:
                    broken = True

    def _feed(self, stdin: IO[bytes] | None) -> None:
        try:
            for message in self._messages():
                if message[0] == STDIN and stdin is not None:
                    try:
                        stdin.write(message[1:])
                        stdin.flush()
                    except OSError:  # it reads no more; what else comes is thrown away
                        _close(stdin)
                        stdin = None
                elif message == bytes([CLOSE, STDIN]) and self.protocol == V5 and stdin:
                    _close(stdin)
                    stdin = None
        except (OSError, RemoteProtocolError, LocalProtocolError):  # the last: it is over already
            self._wire.cut()
        finally:
            if stdin is not None:
                _close(stdin)

    def _messages(self) -> Iterator[bytes]:
        message = bytearray()
        while data := self._wire.receive():
            with self._wire.lock:
                self._ws.receive_data(data)
                events = list(self._ws.events())
            for event in events:
                if isinstance(event, TextMessage | BytesMessage):
                    part: Any = event.data
                    message += part.encode() if isinstance(part, str) else part
                    if event.message_finished and message:
                        yield bytes(message)
                    if event.message_finished:
                        message.clear()
                elif isinstance(event, Ping | CloseConnection):
                    with self._wire.lock:
                        self._wire.send(self._ws.send(event.response()))
                    if isinstance(event, CloseConnection):
                        return

    def _frame(self, channel: int, data: bytes) -> None:
        with self._wire.lock:
            try:
                frame = self._ws.send(BytesMessage(bytes([channel]) + data))
            except LocalProtocolError as exc:
                raise ConnectionResetError("the client closed it") from exc
            self._wire.send(frame)

    def _end(self, status: dict[str, Any]) -> None:
        self._frame(STATUS, json.dumps(status).encode())
        with self._wire.lock:
            self._wire.send(self._ws.send(CloseConnection(code=1000)))


def status_of(code: int) -> dict[str, Any]:
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    message = f"command terminated with non-zero exit code: exit status {code}"
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return {**failure("NonZeroExitCode", message), "details": {"causes": causes}}


def failure(reason: str, message: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {}, "status": "Failure", "message": message, "reason": reason, **more}


def _close(stdin: IO[bytes]) -> None:
    try:
        stdin.close()
    except OSError:
        return  # it read no more
