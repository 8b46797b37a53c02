"""One connection to one address that was judged, and HTTP/1.1 over it.

http.client parses the answers, and nothing more of it is used: its connections and urllib3's look
names up again, follow the environment's proxies, and limit each single wait instead of them all.
It is also twice as fast as urllib3 (tests/bench/webhooks.py).
"""

import io
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse

from rdev.adapters.webhooks.target import Target
from rdev.adapters.webhooks.wire import Deadline, Wire, patiently
from rdev.domain.addresses import Address

KEPT_BODY = 20 * 1024
_LARGEST_ANSWER = 128 * 1024
"""All that is read for one answer: 1xx before it, head, chunk sizes, body, trailers."""
_SWITCHING_PROTOCOLS = 101
_FINAL = 200


class HungUp(Exception):
    """The other side ended the connection before its answer's head was complete. `silent`: before
    it had said anything at all."""

    def __init__(self, *, silent: bool) -> None:
        super().__init__("The receiver hung up before it had answered.")
        self.silent = silent


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: HTTPMessage
    body: bytes
    whole: bool
    """False where the body went on, stopped or broke off before its end."""


class _Buffer(io.BufferedReader):
    """One for all answers of a connection: HTTPResponse closes its own at the end of a body."""

    def close(self) -> None:
        pass


class Connection:
    """An open connection to `address`. After an exchange it can be used again if `reusable`."""

    def __init__(self, sock: socket.socket, address: Address) -> None:
        self.address = address
        self.reusable = False
        self._wire = Wire(sock)
        self._buffer = _Buffer(self._wire)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """HTTPResponse wants a socket, and asks it for this alone."""
        return self._buffer

    def close(self) -> None:
        self._wire.hang_up()

    def is_quiet(self) -> bool:
        """Whether it still waits for a request. What came unasked, be it the end or a 408, would
        be taken for the next answer: the connection is of no more use then."""
        self._wire.begin(None, budget=1)
        try:
            self._buffer.peek(1)  # what was read too much of the last answer, or the socket
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            pass
        return False

    def exchange(self, request: bytes, deadline: Deadline) -> Answer:
        """Send a request and read its answer. Raises HungUp, TimeoutError, OSError or
        HTTPException as long as there is no whole head; from there on there is an answer."""
        self.reusable = False
        self._wire.begin(deadline, _LARGEST_ANSWER)
        try:
            # It may have answered before it hung up, with a 413 say.
            with suppress(BrokenPipeError, ConnectionResetError):
                self._wire.send_all(request)
            response = self._head()
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as exc:
            raise HungUp(silent=not self._wire.heard) from exc
        body, whole = _body(response)
        self.reusable = whole and not response.will_close and response.status >= _FINAL
        return Answer(response.status, response.headers, body, whole)

    def _head(self) -> HTTPResponse:
        while True:
            response = HTTPResponse(self, method="POST")  # type: ignore[arg-type] # see makefile
            try:
                response.begin()
            except HTTPException:
                if not self._wire.ended:
                    raise
            if self._wire.ended:  # http.client takes the end for the empty line
                raise HungUp(silent=not self._wire.heard)
            # It takes a 103 for the answer, too.
            if response.status >= _FINAL or response.status == _SWITCHING_PROTOCOLS:
                return response


def _body(response: HTTPResponse) -> tuple[bytes, bool]:
    """The first 20 kB of a body, and whether that is all."""
    body = bytearray()
    length = response.length  # None: until its last chunk, or the end of the connection
    end = KEPT_BODY + 1 if length is None else min(length, KEPT_BODY + 1)
    try:
        while len(body) < end and (some := response.read1(end - len(body))):
            body += some
    except (OSError, HTTPException):
        return bytes(body[:KEPT_BODY]), False
    whole = len(body) <= KEPT_BODY and length in (None, len(body))
    return bytes(body[:KEPT_BODY]), whole


def connect(
    target: Target, address: Address, tls: ssl.SSLContext | None, deadline: Deadline
) -> Connection:
    """A new connection to `address`, whatever the target's name leads to by now. With TLS the
    certificate must be for that name. Raises OSError, of which TimeoutError and ssl.SSLError are
    two."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IPv4
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(deadline.left())
        sock.connect((str(address), target.port))
        # A request is one segment; waiting for more to send with it only delays it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(0)
        if tls:
            sock = tls.wrap_socket(sock, server_hostname=target.host, do_handshake_on_connect=False)
            patiently(sock, sock.do_handshake, deadline)
    except BaseException:
        sock.close()
        raise
    return Connection(sock, address)
