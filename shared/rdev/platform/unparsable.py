"""What gunicorn answers by itself: to what is no HTTP request, or where the application broke. In
the envelope and with the headers of every other answer, and quoting nothing of what was sent."""

import logging
from contextlib import suppress
from typing import Any

from gunicorn import util
from gunicorn.http.errors import (
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)

from rdev.errors import InvalidRequest, RdevError

log = logging.getLogger(__name__)

_OURS = (InvalidResponseHeader, InvalidResponseHeaderName)
_STATUS = {
    LimitRequestLine: "414 URI Too Long",
    LimitRequestHeaders: "431 Request Header Fields Too Large",
}
_REFUSED = "This is no HTTP request that can be served here: its first line, a header or its body \
is malformed, too long or ambiguous."


class Answering:
    """For gunicorn's workers, before them in their line of ancestors."""

    def handle_error(self, _req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        if isinstance(exc, ParseException) and not isinstance(exc, _OURS):
            log.debug("no HTTP request from %s: %s", addr and addr[0], type(exc).__name__)
            answer = _rendered(InvalidRequest(_REFUSED), _STATUS.get(type(exc)))
        else:
            log.error("a request failed outside of its function", exc_info=exc)
            answer = _rendered(RdevError(), None)
        with suppress(Exception):  # whoever sent it is gone
            util.write_nonblock(client, answer)


def _rendered(exc: RdevError, status: str | None) -> bytes:
    # Here, since the master imports this and needs no Flask.
    from rdev.http.headers import SecurityHeaders
    from rdev.http.middleware import answer

    lines: list[str] = []

    def start(usual: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> None:
        lines.append(f"HTTP/1.1 {status or usual}")
        lines.extend(f"{name}: {value}" for name, value in headers)

    app = SecurityHeaders(lambda environ, begin: answer(environ, begin, exc, close=True))
    body = b"".join(app({"REQUEST_METHOD": "GET"}, start))
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
