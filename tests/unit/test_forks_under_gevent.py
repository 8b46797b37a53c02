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
setup.start("0", "functions")

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


def test_who_else_asks_to_be_told_of_forks_is_told() -> None:
    script = """
from gevent import monkey; monkey.patch_all()
import os
from rdev.adapters.telemetry.setup import untold_of_forks
with untold_of_forks():
    os.register_at_fork(before=lambda: print("told", flush=True))
if os.fork() == 0:
    os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout, done.returncode) == ("told\n", 0), done.stderr
