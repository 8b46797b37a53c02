"""The body of a command's input: raw bytes, or JSON that carries them."""

import base64
from dataclasses import dataclass

from flask import request

from rdev.errors import InvalidRequest, UnsupportedMediaType
from rdev.http import parsing
from rdev.http.command_models import InputBody, InputQuery


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of input, where it is to begin (None: at the end), and whether it is the last."""

    data: bytes
    offset: int | None
    close: bool


def piece() -> Piece:
    """The request's. Raises UnsupportedMediaType for forms, as which curl sends bytes unless it
    is told their type."""
    asked = parsing.query(InputQuery)
    raw = request.get_data()
    if request.mimetype == "application/json":
        body = parsing.body(InputBody)
        offset = asked.offset if body.offset is None else body.offset
        return Piece(_bytes_of(body), offset, asked.close or body.close)
    if raw and request.mimetype != "application/octet-stream":
        raise UnsupportedMediaType(
            "Send the bytes as `Content-Type: application/octet-stream`, or as JSON in `data`."
        )
    return Piece(raw, asked.offset, asked.close)


def _bytes_of(body: InputBody) -> bytes:
    if body.encoding is None:
        return body.data.encode()
    try:
        return base64.b64decode(body.data, validate=True)
    except ValueError:  # binascii's, and one for what is no ASCII
        raise InvalidRequest.field("data", "is not valid base64") from None
