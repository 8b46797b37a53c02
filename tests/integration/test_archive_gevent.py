"""Under gevent an archive that takes its time holds up those who wait for it, and nobody else."""

import socket
import subprocess
import sys

SCRIPT = """
from gevent import monkey; monkey.patch_all()
import sys, time, gevent
from rdev.adapters.archive.objects import ObjectArchive
from rdev.domain.events import OUTPUT, STDOUT, Entry, EntryId
from rdev.domain.segments import Segment
from rdev.errors import SegmentDamaged, StoreUnavailable

silent = ObjectArchive("s3://bucket", timeout_s=1.0, options={
    "endpoint": sys.argv[1], "access_key_id": "k", "secret_access_key": "s"})
ticks = 0

def tick():
    global ticks
    while True:
        gevent.sleep(0.01)
        ticks += 1

gevent.spawn(tick)
asking = [gevent.spawn(silent.segments, "demo", "cmd-1") for _ in range(5)]
gevent.joinall(asking)
assert all(isinstance(a.exception, StoreUnavailable) for a in asking), [a.exception for a in asking]
assert ticks > 20, ticks

folder = ObjectArchive(sys.argv[2])
segment = Segment((Entry(EntryId(6, 0), OUTPUT, b"hello", STDOUT),))
folder.store("demo", "cmd-1", segment)
(name,) = folder.segments("demo", "cmd-1")
assert folder.load("demo", "cmd-1", name) == segment
assert folder.load("demo", "cmd-2", name) is None
"""


def test_a_silent_archive_holds_up_no_other_greenlet(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, never answers
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                SCRIPT,
                f"http://127.0.0.1:{silent.getsockname()[1]}",
                str(tmp_path / "archive"),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
