"""Blocking calls under gevent, more of them than there are threads, and none of them ends."""

import subprocess
import sys

SCRIPT = """
from gevent import monkey; monkey.patch_all()
import ctypes, os, socket, time
import gevent
from rdev.beside_the_loop import beside_the_loop

hang = lambda: ctypes.CDLL(None).sleep(600)

def told():
    try:
        beside_the_loop(hang, 0.5)
    except TimeoutError:
        return "in time"

began = time.monotonic()
calls = [gevent.spawn(told) for _ in range(25)]
gevent.joinall(calls, timeout=60)
print({call.value for call in calls}, time.monotonic() - began < 50)
socket.getaddrinfo("localhost", 80)
print("names are looked up")
others = gevent.Timeout(0.5)
try:
    with others:
        beside_the_loop(hang, 600)
except gevent.Timeout as exc:
    print("it was theirs" if exc is others else exc, flush=True)
os._exit(0)
"""


def test_calls_that_hang_hold_up_neither_each_other_nor_the_look_up_of_names() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False
    )
    told = ["{'in time'} True", "names are looked up", "it was theirs"]
    assert (done.stdout.splitlines(), done.stderr) == (told, "")
