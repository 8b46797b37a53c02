"""A command's output as one download, resumed by Range where the connection breaks."""

from collections.abc import Iterator

from rdev.client.errors import ClientError
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


def lines(transport: Transport, command_path: str) -> Iterator[bytes]:
    """Both streams as NDJSON, in the order in which they were written. Not resumed."""
    headers = {"Accept": "application/x-ndjson"}
    rest = b""
    with transport.stream(f"{command_path}/output", {"stream": "all"}, headers) as response:
        for chunk in response.iter_bytes():
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line + b"\n" for line in whole)
    if rest:
        yield rest + b"\n"


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
