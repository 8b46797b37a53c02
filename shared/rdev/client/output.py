"""A command's output as one download, resumed by Range where the connection breaks."""

from collections.abc import Iterator

from rdev.client.errors import ClientError
from rdev.client.events import Event, parse
from rdev.client.transport import Attempts, Transport

_PARTIAL = 206
_NOTHING_MORE = 416


def read(transport: Transport, command_path: str, stream: str) -> Iterator[bytes]:
    """The bytes of `stream`. `all` is not resumed: where the two streams are interleaved may
    differ between two downloads."""
    position = 0
    attempts = Attempts(transport.patience)
    while True:
        try:
            for chunk in _from(transport, f"{command_path}/output", stream, position):
                position += len(chunk)
                attempts = Attempts(transport.patience)
                yield chunk
            return
        except ClientError as exc:
            if position and getattr(exc, "status", None) == _NOTHING_MORE:
                return
            attempts.wait_or_raise(exc, repeatable=stream != "all" or not position)


def entries(transport: Transport, command_path: str) -> Iterator[Event]:
    """Both streams so far, in the order in which they were written. Not resumed."""
    headers = {"Accept": "application/x-ndjson"}
    rest = b""
    with transport.stream(f"{command_path}/output", {"stream": "all"}, headers) as response:
        for chunk in response.iter_bytes():
            *whole, rest = (rest + chunk).split(b"\n")
            yield from map(_entry, whole)


def _entry(line: bytes) -> Event:
    kind = "claude.message" if b'"message":' in line and b'"data":' not in line else "output"
    return parse("", kind, line.decode())


def _from(transport: Transport, path: str, stream: str, position: int) -> Iterator[bytes]:
    headers = {"Accept": "application/octet-stream"}
    if position:
        headers["Range"] = f"bytes={position}-"
    with transport.stream(path, {"stream": stream}, headers) as response:
        skip = 0 if response.status_code == _PARTIAL else position
        for chunk in response.iter_bytes():
            if skip >= len(chunk):
                skip -= len(chunk)
                continue
            yield chunk[skip:]
            skip = 0
