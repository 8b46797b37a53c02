"""What runs in the machine whose power is cut: `rdev up` with somebody who waits for the end of
every command that was accepted before; and then with clients that submit COUNT commands each, which
take SECONDS, in turn. What the host is to know is written to the ledger, a folder of the host's.

    python -m chaos.power_cut_guest [LOAD CLIENTS COUNT SECONDS...]
"""

import fcntl
import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from http_client import Answer, Http

LEDGER = Path("/tmp/ledger")
HOME = Path("/var/lib/home")
PORT = 8080
COMMANDS = "/projects/demo/commands"
FINAL = ("succeeded", "failed", "cancelled", "timed_out", "lost")
_PATIENCE_S = 400.0
_MOST_WAITING = 10
"""Commands in the queue: more show no more, and whoever comes back has to wait for them."""
_SET_FLAGS = 0x8914  # SIOCSIFFLAGS of linux/sockios.h
_UP = 1


def tell(name: str, line: str) -> None:
    fd = os.open(LEDGER / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, f"{line}\n".encode())
    os.close(fd)


def told(name: str) -> int:
    """How many lines of this the ledger has."""
    path = LEDGER / name
    return path.read_bytes().count(b"\n") if path.exists() else 0


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


def submit(http: Http, client: str, count: int, seconds: Sequence[str]) -> None:
    for n in range(count):
        tag = f"{client}-{n}"
        pause = seconds[n % len(seconds)]
        line = f"echo {tag} >>{LEDGER}/starts; sleep {pause}; echo out-{tag}"
        answer = http.post("/projects/demo/shell", {"command": line})
        if answer.status == 202:
            tell("accepted", f"{answer.data['id']} {tag}")
            while told("accepted") - told("starts") >= _MOST_WAITING:
                time.sleep(0.05)
        else:
            time.sleep(0.5)


def asked(http: Http, path: str, *, until: Callable[[Answer], bool]) -> Answer:
    """Whatever else is said, such as 503 while it comes up, is asked again."""
    deadline = time.monotonic() + _PATIENCE_S
    while not until(answer := http.get(path)):
        assert time.monotonic() < deadline, f"{path}: {answer.status} {answer.body!r}"
        time.sleep(0.2)
    return answer


def end_of(http: Http, command_id: str) -> dict[str, Any]:
    """Its record, with the hash of what can be read of its output."""
    path = f"{COMMANDS}/{command_id}"
    ended = asked(http, path, until=lambda a: a.status == 200 and a.data["status"] in FINAL)
    output = asked(http, f"{path}/output?stream=stdout", until=lambda a: a.status in (200, 410))
    read = hashlib.sha256(output.body).hexdigest() if output.status == 200 else None
    return {**ended.data, "read_sha256": read}


def await_all(http: Http) -> None:
    accepted = LEDGER / "accepted"
    for line in accepted.read_text().splitlines() if accepted.exists() else ():
        command_id, tag = line.split()
        tell("ends", json.dumps({"id": command_id, "tag": tag, **end_of(http, command_id)}))
    tell("done", "all")


def main(load: str = "", clients: str = "0", count: str = "0", *seconds: str) -> None:
    network_up()
    http = up()
    await_all(http)
    for client in range(int(clients)):
        asks = (http, f"{load}-{client}", int(count), seconds)
        threading.Thread(target=submit, args=asks).start()


main(*sys.argv[1:])
