"""A process that gevent has patched forks to become another program. Its child must do nothing else
before that: least of all what greenlets of others were about to do, in their connections."""

import os
import subprocess
import sys

SCRIPT = """
from gevent import monkey; monkey.patch_all()
import os, subprocess, sys
import gevent
from rdev.adapters.telemetry import setup
from rdev.adapters.telemetry.exposing import Exposing

exposing = Exposing("0", "functions", None)
exposing.start()  # with a reader that sends
assert b"rdev_build" in exposing.exposition()
setup.start("0")

me = os.getpid()
for _ in range(20):
    gevent.spawn(lambda: print("mine" if os.getpid() == me else "the child's", flush=True))
    subprocess.run(["true"], check=True)
    gevent.sleep(0)
os._exit(0)
"""


def test_telemetry_has_the_child_of_a_fork_run_nothing_of_others() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={"PATH": os.environ["PATH"], "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout.split(), done.returncode) == (["mine"] * 20, 0), done.stderr
