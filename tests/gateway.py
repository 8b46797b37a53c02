"""compose.yaml's gateway, the real Caddy with its real Caddyfile, in front of functions that run on
this machine."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from free_port import free_port
from live_stack import wait_for
from rdev.config import SOURCE_ROOT

CADDY = Path(sys.executable).with_name("caddy")
CADDYFILE = SOURCE_ROOT / "deploy" / "compose" / "Caddyfile"


@contextmanager
def gateway(ports: Mapping[str, int], folder: Path) -> Iterator[str]:
    """Its URL; `ports` of the functions by name."""
    port, log = free_port(), folder / "caddy.log"
    upstreams = {f"RDEV_{name.upper()}": f"127.0.0.1:{at}" for name, at in ports.items()}
    own = {"HOME": str(folder), "RDEV_SITE": f":{port}", "RDEV_BIND": "127.0.0.1"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [CADDY, "run", "--config", CADDYFILE, "--adapter", "caddyfile"],
            env={"PATH": os.environ["PATH"], **own, **upstreams},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        wait_for(lambda: _answers(port, process, log))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _answers(port: int, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return bool(connection.getresponse().status)
    except OSError:
        return False
    finally:
        connection.close()
