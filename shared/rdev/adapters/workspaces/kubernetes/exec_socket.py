"""Messages over the wire of an exec, in websocket frames; what the connection itself needs said is
said here. Never holds more than one frame.

Of websocket-client only the frames: its own reading joins whatever is sent in parts, waits without
a limit, and bears no second thread. Imported at the first exec, as that library is.
"""

import struct
import time
from contextlib import suppress

from websocket import ABNF, WebSocketException, WebSocketPayloadException, frame_buffer

from rdev.adapters.workspaces.kubernetes.exec_wire import Wire, WireBroken

_FRAME_BYTES = 1 << 20
"""Kubernetes sends 32 kB and one."""
_NORMAL = struct.pack("!H", 1000)
_BEGIN = (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY)


class ExecSocket:
    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._frames = _Frames(wire)
        self._within = False
        """A message."""

    def send(self, message: bytes, until: float) -> None:
        """Raises as `Wire.write` does."""
        self.wire.write(_framed(ABNF.OPCODE_BINARY, message), until)

    def receive(self, until: float) -> tuple[bool, bytes]:
        """The next part of a message, and whether it is its first. Raises TimeoutError, after which
        it may be asked again, and WireBroken."""
        while True:
            frame = self._next(until)
            data = frame.data if isinstance(frame.data, bytes) else b""
            if frame.opcode in _BEGIN or (frame.opcode == ABNF.OPCODE_CONT and self._within):
                self._within = not frame.fin
                return frame.opcode in _BEGIN, data
            if frame.opcode == ABNF.OPCODE_PING:
                self.wire.tell(_framed(ABNF.OPCODE_PONG, data[:125]))
            elif frame.opcode == ABNF.OPCODE_CLOSE:
                self.wire.tell(_framed(ABNF.OPCODE_CLOSE, data[:2]))
                raise WireBroken(_farewell(data))
            elif frame.opcode == ABNF.OPCODE_CONT:
                raise WireBroken("it sent the rest of no message")
            if time.monotonic() >= until:  # however much else it has to say
                raise TimeoutError

    def ping(self) -> None:
        self.wire.tell(_framed(ABNF.OPCODE_PING, b""))

    def close(self, why: str) -> None:
        self.wire.tell(_framed(ABNF.OPCODE_CLOSE, _NORMAL))
        self.wire.break_off(why)

    def _next(self, until: float) -> ABNF:
        self._frames.until = until
        try:
            return self._frames.recv_frame()
        except WebSocketException as exc:
            raise WireBroken(f"it does not speak the protocol ({exc})") from exc


class _Frames(frame_buffer):
    """Where the time is over, what has come of a frame is kept."""

    def __init__(self, wire: Wire) -> None:
        self.until = 0.0
        super().__init__(lambda size: wire.read(size, self.until), skip_utf8_validation=True)

    def recv_length(self) -> None:
        super().recv_length()
        if self.length and self.length > _FRAME_BYTES:
            raise WebSocketPayloadException(f"a frame of {self.length} bytes")


def _framed(opcode: int, data: bytes) -> bytes:
    return ABNF.create_frame(data, opcode).format()


def _farewell(data: bytes) -> str:
    with suppress(struct.error):
        (code,) = struct.unpack_from("!H", data)
        return f"the other side closed it with {code} {data[2:].decode(errors='replace')}".rstrip()
    return "the other side closed it"
