"""TLS in front of a store that has none: takes connections on loopback and passes on what they say
to the store's socket. For Postgres after the request for TLS that its protocol begins with."""

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
"""How a client of Postgres asks whether the server speaks TLS; `S` says that it does."""


@contextmanager
def tls_front(context: ssl.SSLContext, store: Path, *, postgres: bool) -> Iterator[int]:
    """Gives the port. `store` is a Unix socket's path."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_accept, args=(listener, context, store, postgres))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _accept(listener: socket.socket, context: ssl.SSLContext, store: Path, postgres: bool) -> None:
    with suppress(OSError):  # it was shut down
        while True:
            client, _ = listener.accept()
            args = (client, context, store, postgres)
            threading.Thread(target=_serve, args=args, daemon=True).start()


def _serve(client: socket.socket, context: ssl.SSLContext, store: Path, postgres: bool) -> None:
    with client, socket.socket(socket.AF_UNIX) as behind, suppress(OSError):
        if postgres:
            assert client.recv(len(_SSL_REQUEST), socket.MSG_WAITALL) == _SSL_REQUEST
            client.sendall(b"S")
        with context.wrap_socket(client, server_side=True) as spoken:
            behind.connect(str(store))
            there = threading.Thread(target=_pass_on, args=(spoken, behind), daemon=True)
            there.start()
            _pass_on(behind, spoken)
            there.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
