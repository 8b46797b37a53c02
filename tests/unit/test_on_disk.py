"""What must be on the disk, with a `sync` that does as a test wants it."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from live_stack import wait_for
from rdev.on_disk import put_names_on_disk, put_on_disk


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    folder = tmp_path / "programs"
    folder.mkdir()
    return folder


def sync(programs: Path, line: str) -> str:
    """The path on which a `sync` is found that does this."""
    program = programs / "sync"
    program.write_text(f"#!/bin/sh\n{line}\n")
    program.chmod(0o755)
    return f"{programs}:/usr/bin:/bin"


def test_a_sync_that_is_done_is_no_word_worth(tmp_path, programs, caplog):
    put_on_disk(tmp_path, limit_s=60, path=sync(programs, f'echo "$@" >{tmp_path}/asked'))
    assert (tmp_path / "asked").read_text() == f"-f {tmp_path}\n"
    assert not caplog.records


def test_names_that_are_on_the_disk_are_no_word_worth(tmp_path, caplog):
    put_names_on_disk(tmp_path, limit_s=60)
    assert not caplog.records


def test_a_folder_that_is_not_there_is_told(tmp_path, caplog):
    put_names_on_disk(tmp_path / "nowhere", limit_s=60)
    assert "nowhere may not outlive a power cut" in caplog.text


HANGS = """
import sys
if sys.argv[1] == "gevent":
    from gevent import monkey; monkey.patch_all()
import ctypes, logging, os, pathlib, threading, time
from rdev.on_disk import put_names_on_disk

logging.basicConfig(format="%(message)s", stream=sys.stdout)
os.register_at_fork(before=lambda: print("forked"))
put_names_on_disk(pathlib.Path(sys.argv[2]), limit_s=60)
os.fsync = lambda fd: ctypes.CDLL(None).sleep(600)
ticks = []
def tick():
    while True:
        ticks.append(time.sleep(0.01))
threading.Thread(target=tick, daemon=True).start()
put_names_on_disk(pathlib.Path(sys.argv[2]), limit_s=0.5)
print("others went on" if len(ticks) > 5 else "others stood still", flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("served_by", ["gevent", "threads"])
def test_a_disk_that_hangs_holds_up_nobody_and_nobody_forks(tmp_path, served_by):
    done = subprocess.run(
        [sys.executable, "-c", HANGS, served_by, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    told = f"{tmp_path} may not outlive a power cut: its disk takes over 0.5 s"
    assert (done.stdout.splitlines(), done.stderr) == ([told, "others went on"], "")


def test_a_disk_that_hangs_is_told_and_not_waited_for(tmp_path, programs, caplog):
    hangs = sync(programs, f"echo $$ >{tmp_path}/pid; exec sleep 600")
    with caplog.at_level(logging.WARNING):
        put_on_disk(tmp_path, limit_s=0.5, path=hangs)
    assert "takes over 0.5 s" in caplog.text
    pid = (tmp_path / "pid").read_text().strip()
    wait_for(lambda: _state(pid) in ("Z", ""))


def _state(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return ""


@pytest.mark.parametrize("line", ["exit 3", None])
def test_a_sync_that_fails_or_is_not_there_is_told(tmp_path, programs, caplog, line):
    path = str(programs) if line is None else sync(programs, line)
    with caplog.at_level(logging.WARNING):
        put_on_disk(tmp_path, limit_s=60, path=path)
    assert "may not outlive a power cut" in caplog.text
