"""The look that is taken at a pooled connection before each call: it finds what was closed
meanwhile, and under gevent it costs no turn of the loop."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
if sys.argv[2] == "gevent":
    from gevent import monkey; monkey.patch_all()
import gevent
from rdev.adapters.redis.connect import connect

client, other = connect(sys.argv[1], max_connections=1), connect(sys.argv[1])
assert client.ping()
turns = []
gevent.spawn(turns.append, "taken")
pool = client.connection_pool
pool.release(pool.get_connection())
assert not turns, "the look let others have their turn"

mine = client.client_id()
other.client_kill_filter(_id=mine)
assert client.ping()
assert client.client_id() != mine
"""


@pytest.mark.parametrize("served_by", ["gevent", "threads"])
def test_an_open_line_is_found_open_at_once_and_a_closed_one_closed(redis_url, served_by):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, redis_url, served_by],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
