"""The port of `rdev up`: taken once by the parent, so that it is never lost to a restart."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from rdev.platform.problems import CannotStart

BACKLOG = 2048
LISTEN_FD = "RDEV_LISTEN_FD"
"""Names the descriptor of the socket that `rdev up` hands down: while the functions are started
again, clients wait in its queue and are not refused."""
WILDCARDS = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound here


def base_url(host: str, port: int) -> str:
    """How this machine itself reaches what listens on host and port."""
    name = WILDCARDS.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket, or the line that says why there is none."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as exc:
        raise CannotStart(f"'{host}' is no address to listen on: {exc.strerror}.") from exc
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as exc:
            raise _refused(host, port, exc) from exc
        yield listener


def _refused(host: str, port: int, exc: OSError) -> CannotStart:
    if exc.errno == errno.EADDRINUSE:
        return CannotStart(
            f"Port {port} on {host} is taken. Choose another one: make run PORT={port + 1}"
        )
    if exc.errno == errno.EACCES:
        return CannotStart(
            f"Port {port} is for root alone. Choose one from 1024 on: make run PORT=8080"
        )
    return CannotStart(f"Cannot listen on {host}, port {port}: {exc.strerror}.")
