"""Ports for servers that cannot be handed a socket.

Not "bind port 0 and let it go": the kernel may give that one to the next who asks, before the
server has begun. So each worker of the tests has a share of its own, below what the kernel gives
out (net.ipv4.ip_local_port_range), and goes round in it.
"""

import itertools
import os
import socket

_FIRST = 10_000
_SHARE = 2_500
_SHARES = 8
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _SHARES
_count = itertools.count(
    os.getpid() * 50
)  # another run of the tests, beside this, begins elsewhere


def free_port() -> int:
    while True:
        port = _FIRST + _worker * _SHARE + next(_count) % _SHARE
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:  # somebody has it
            continue
        return port
