"""What runs in the machine whose power is cut: `rdev up` with clients that submit COUNT commands
each, which take SECONDS; and after that `rdev up` with somebody who waits for every end. What the
host is to know is written to the ledger, which is a folder of the host's.

    python -m chaos.power_cut_guest submit CLIENTS COUNT SECONDS
    python -m chaos.power_cut_guest await
"""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from http_client import Http

LEDGER = Path("/tmp/ledger")
HOME = Path("/var/lib/home")
PORT = 8080
COMMANDS = "/projects/demo/commands"
FINAL = ("succeeded", "failed", "cancelled", "timed_out", "lost")
_PATIENCE_S = 400.0
_SET_FLAGS = 0x8914  # SIOCSIFFLAGS of linux/sockios.h
_UP = 1


def tell(name: str, line: str) -> None:
    fd = os.open(LEDGER / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, f"{line}\n".encode())
    os.close(fd)


def network_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP))


def up() -> Http:
    """`rdev up`, as soon as it answers."""
    log = LEDGER / "up.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "rdev.cli.main", "up", "--port", str(PORT)],
            env={**os.environ, "RDEV_HOME": str(HOME), "RDEV_DEFAULT_RATE_LIMIT": "100000"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    started = time.monotonic()
    while True:
        assert process.poll() is None, "rdev up ended"
        assert time.monotonic() - started < _PATIENCE_S, "rdev up does not come up"
        try:
            key = json.loads((HOME / "client.json").read_text())["api_key"]
            http = Http(PORT, key)
            if http.get("/health").status == 200:
                return http
        except (OSError, ValueError):
            pass
        time.sleep(0.1)


def submit(http: Http, client: int, count: int, seconds: int) -> None:
    for n in range(count):
        tag = f"{client}-{n}"
        line = f"echo {tag} >>{LEDGER}/starts; sleep {seconds}"
        answer = http.post("/projects/demo/shell", {"command": line})
        if answer.status == 202:
            tell("accepted", f"{answer.data['id']} {tag}")
        else:
            time.sleep(0.5)


def end_of(http: Http, command_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        answer = http.get(f"{COMMANDS}/{command_id}")
        # Whatever else is said, such as 503 while it comes up, is asked again.
        if answer.status == 200 and answer.data["status"] in FINAL:
            record: dict[str, Any] = answer.data
            return record
        assert time.monotonic() < deadline, f"{command_id} does not end"
        time.sleep(0.2)


def main(what: str, clients: int = 0, count: int = 0, seconds: int = 0) -> None:
    network_up()
    http = up()
    if what == "submit":
        for client in range(clients):
            threading.Thread(target=submit, args=(http, client, count, seconds)).start()
        return
    for line in (LEDGER / "accepted").read_text().splitlines():
        command_id, tag = line.split()
        tell("ends", json.dumps({"id": command_id, "tag": tag, **end_of(http, command_id)}))
    tell("done", "all")


main(sys.argv[1], *map(int, sys.argv[2:]))
