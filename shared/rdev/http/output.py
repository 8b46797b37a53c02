"""A command's whole output as a response: raw bytes with `Range`, or NDJSON by `Accept`."""

from collections.abc import Iterable, Iterator

from flask import Response, request
from werkzeug.datastructures import Range

from rdev.domain.commands import Command
from rdev.domain.events import Entry, render
from rdev.errors import InvalidRequest
from rdev.http import envelope
from rdev.services.events import Events

_NDJSON = "application/x-ndjson"
_OCTETS = "application/octet-stream"


def output_response(events: Events, command: Command, stream: str) -> Response:
    """What is stored now of `stdout`, `stderr` or `all`. Raises Gone where it is kept no more."""
    place = (command.project_id, command.id)
    totals = command.output if command.status.final else None
    if request.accept_mimetypes.best_match([_OCTETS, _NDJSON]) == _NDJSON:
        entries = events.entries(*place, totals)  # not in the generator: raises before the headers
        return Response(_lines(entries, command, stream), mimetype=_NDJSON)
    stored = totals or events.tail(*place).position
    size = {"stdout": stored.stdout, "stderr": stored.stderr}.get(
        stream, stored.stdout + stored.stderr
    )
    wanted = _wanted(request.range, size)
    if wanted is None:
        return _refused(size)
    start, stop = wanted
    body = events.output(*place, stream, start, stop)
    whole = request.range is None
    response = Response(body, 200 if whole else 206, content_type=_OCTETS)
    response.headers["Content-Length"] = str(stop - start)
    response.headers["Accept-Ranges"] = "bytes"
    if not whole:
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return response


def _wanted(asked: Range | None, size: int) -> tuple[int, int] | None:
    """From and to which byte; None where that lies outside."""
    if asked is None:
        return 0, size
    if asked.units != "bytes" or len(asked.ranges) != 1:
        raise InvalidRequest.field("Range", "must be one range of bytes, such as bytes=0-1023")
    return asked.range_for_length(size)


def _refused(size: int) -> Response:
    """416 with the size (RFC 9110, section 15.5.17)."""
    message = f"must begin before the end: there are {size} bytes now"
    response = envelope.error(InvalidRequest.field("Range", message))
    response.status_code = 416
    response.headers["Content-Range"] = f"bytes */{size}"
    return response


def _lines(entries: Iterable[Entry], command: Command, stream: str) -> Iterator[bytes]:
    for entry in entries:
        if stream in (entry.stream, "all"):
            yield render(entry, command.id) + b"\n"
