"""A receiver of webhooks that misbehaves on purpose. Raw sockets: a real server would not let it.

    with receiver(answering(204)) as good, receiver(hanging_up("after the request")) as bad:
        ...
        assert good.received(1)[0].headers["webhook-id"] == "evt-1"

A behaviour is called once a connection, with the `Talk` over it, and the connection is closed when
it returns. Waits in it end when the receiver does.
"""

import contextlib
import datetime
import itertools
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trustme

PATIENCE_S = 30.0
REASONS = {200: "OK", 204: "No Content", 302: "Found", 410: "Gone", 429: "Too Many Requests"}


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    line: str
    headers: Mapping[str, str]
    body: bytes
    connection: int
    """Which of the receiver's connections it came over, from 1."""


@dataclass
class Talk:
    """One connection. Raises OSError (or Over) in whoever uses it after its end."""

    sock: socket.socket
    number: int
    owner: "Receiver"
    unread: bytes = b""

    def request(self) -> Received | None:
        """The next request, noted in the receiver; None where the sender is done."""
        head, gap, _ = self._until(b"\r\n\r\n").partition(b"\r\n\r\n")
        if not gap:
            return None
        line, *rest = head.decode("latin-1").split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (text.partition(":") for text in rest)}
        size = len(head) + len(gap) + int(headers.get("content-length", "0"))
        while len(self.unread) < size:
            self._more()
        body = self.unread[len(head) + len(gap) : size]
        self.unread = self.unread[size:]
        request = Received(line, headers, body, self.number)
        self.owner.note(request)
        return request

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def pause(self, seconds: float) -> None:
        """Wait; raises where the receiver ends meanwhile."""
        if self.owner.over.wait(seconds):
            raise ConnectionAbortedError

    def reset(self) -> None:
        """End the connection with a RST."""
        linger = struct.pack("ii", 1, 0)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.unread:
            if not self._more():
                return b""
        return self.unread

    def _more(self) -> bytes:
        more = self.sock.recv(65536)
        self.unread += more
        if not more and self.unread:
            raise ConnectionResetError
        return more


Behaviour = Callable[[Talk], None]


@dataclass
class Receiver:
    """What a receiver saw, and what it does next: `behaviour` may be replaced at any time."""

    behaviour: Behaviour
    host: str
    port: int
    scheme: str = "http"
    connections: int = 0
    """How many were accepted."""
    over: threading.Event = field(default_factory=threading.Event)
    _requests: list[Received] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return self.at(self.host)

    @property
    def requests(self) -> list[Received]:
        with self._changed:
            return list(self._requests)

    def at(self, name: str, path: str = "/hook") -> str:
        """Its URL under another name."""
        return f"{self.scheme}://{name}:{self.port}{path}"

    def note(self, request: Received) -> None:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def received(self, count: int, within_s: float = PATIENCE_S) -> list[Received]:
        """The requests, once there are `count` of them."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._requests) >= count, within_s), (
                f"{len(self._requests)} of {count} requests came"
            )
            return list(self._requests)


@contextmanager
def receiver(
    behaviour: Behaviour,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Receiver]:
    """A listening receiver; with `tls` every connection begins with a handshake."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=128) as listener:
        port = listener.getsockname()[1]
        one = Receiver(behaviour, host, port, "https" if tls else "http")
        open_sockets: set[socket.socket] = set()
        accepting = threading.Thread(target=_accept, args=(one, listener, tls, open_sockets))
        accepting.start()
        try:
            yield one
        finally:
            one.over.set()
            listener.shutdown(socket.SHUT_RDWR)  # a close alone does not wake accept()
            accepting.join()
            for sock in list(open_sockets):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            deadline = time.monotonic() + PATIENCE_S
            while open_sockets and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not open_sockets, "a behaviour does not end"


def _accept(
    one: Receiver,
    listener: socket.socket,
    tls: ssl.SSLContext | None,
    open_sockets: set[socket.socket],
) -> None:
    for number in itertools.count(1):
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        one.connections = number
        open_sockets.add(sock)
        threading.Thread(
            target=_serve, args=(one, sock, number, tls, open_sockets), daemon=True
        ).start()


def _serve(
    one: Receiver,
    sock: socket.socket,
    number: int,
    tls: ssl.SSLContext | None,
    open_sockets: set[socket.socket],
) -> None:
    talking = sock
    try:
        if tls:
            talking = tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            open_sockets.add(talking)
            open_sockets.discard(sock)
            talking.do_handshake()
        one.behaviour(Talk(talking, number, one))
    except OSError:
        pass  # the sender is gone, or we are
    finally:
        talking.close()
        open_sockets.discard(talking)


# Behaviours.


def answering(
    status: int = 204, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Behaviour:
    """The same answer to every request, keeping the connection."""
    answer = answer_of(status, headers or {}, body)

    def behave(talk: Talk) -> None:
        while talk.request():
            talk.send(answer)

    return behave


def answer_of(status: int, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Something')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if status != 204:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def slowly(seconds: float) -> Behaviour:
    """A 204 to every request, that takes its time."""

    def behave(talk: Talk) -> None:
        while talk.request():
            talk.pause(seconds)
            talk.send(answer_of(204, {}))

    return behave


def saying(data: bytes) -> Behaviour:
    """These bytes for an answer, then the end."""

    def behave(talk: Talk) -> None:
        talk.request()
        talk.send(data)

    return behave


def saying_without_end(first: bytes, again: bytes, every_s: float = 0.0) -> Behaviour:
    """`first`, then `again` and again: endless or, with `every_s`, dripping."""

    def behave(talk: Talk) -> None:
        talk.request()
        talk.send(first)
        while True:
            talk.send(again)
            talk.pause(every_s)

    return behave


def silent(talk: Talk) -> None:
    """Takes the request and answers nothing."""
    talk.request()
    talk.pause(3600)


def deaf(talk: Talk) -> None:
    """Accepts, and does not even read."""
    talk.pause(3600)


def hanging_up(when: str, *, reset: bool = False) -> Behaviour:
    """`when`: at once, amid the request, after the request, amid the status, amid the head, or
    amid the body."""
    said = {
        "at once": b"",
        "amid the request": b"",
        "after the request": b"",
        "amid the status": b"HTTP/1.1 20",
        "amid the head": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX-Ha",
        "amid the body": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
    }[when]

    def behave(talk: Talk) -> None:
        if when == "amid the request":
            talk.sock.recv(10)
        elif when != "at once":
            talk.request()
        talk.send(said)
        if reset:
            # What is sent must arrive first: a RST takes back what was not yet read.
            talk.pause(0.2 if said else 0)
            talk.reset()

    return behave


ENDLESS_BODY = saying_without_end(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536)
DRIPPING_BODY = saying_without_end(b"HTTP/1.1 200 OK\r\n\r\n", b"x", every_s=0.05)
ENDLESS_HEADERS = saying_without_end(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n")
ONE_ENDLESS_HEADER = saying_without_end(b"HTTP/1.1 200 OK\r\nX-More: ", b"more" * 1000)
DRIPPING_HEADERS = saying_without_end(b"HTTP/1.1 200 OK\r\nX-Drip: ", b"x", every_s=0.05)
ENDLESS_CONTINUES = saying_without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n")
ENDLESS_HINTS = saying_without_end(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n")
GARBAGE = saying(b"\x15\x03\x01\x00\x02\x02 this is no HTTP\r\n\r\n")
REDIRECT = answering(302, {"Location": "http://127.0.0.1:1/elsewhere"})


@contextmanager
def unaccepting() -> Iterator[str]:
    """The URL of a port whose queue of connections is full: no connection is ever completed."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/hook"


class Certificates:
    """An authority of the test's own, and certificates good and bad, all for `NAME` or not."""

    NAME = "receiver.test"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self._authority.cert_pem.write_to_path(self.ca_file)

    def good(self, *names: str) -> ssl.SSLContext:
        return self._context(self._authority, *(names or (self.NAME,)))

    def wrong_name(self) -> ssl.SSLContext:
        return self._context(self._authority, "somebody-else.test")

    def unknown_authority(self) -> ssl.SSLContext:
        return self._context(trustme.CA(), self.NAME)

    def expired(self) -> ssl.SSLContext:
        yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        return self._context(self._authority, self.NAME, not_after=yesterday)

    def _context(
        self, authority: trustme.CA, *names: str, not_after: datetime.datetime | None = None
    ) -> ssl.SSLContext:
        certificate = authority.issue_cert(*names, not_after=not_after)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return context
