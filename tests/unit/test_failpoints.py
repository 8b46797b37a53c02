"""A fail point ends the process that comes to it, whatever runs it there."""

import os
import signal
import subprocess
import sys

import pytest

REACH = "from rdev.failpoints import reach; reach('here'); print('went on')"
THREAD = f"import threading as t; r = t.Thread(target=exec, args=({REACH!r},)); r.start(); r.join()"
GREENLET = f"from gevent import monkey; monkey.patch_all(); {THREAD}"


@pytest.mark.parametrize("code", [REACH, THREAD, GREENLET], ids=["main", "thread", "greenlet"])
def test_a_fail_point_ends_its_process_at_once(code: str) -> None:
    env = {**os.environ, "RDEV_FAIL_POINTS": "here"}
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, env=env, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")
