"""What must be on the disk, with a `sync` that does as a test wants it."""

import logging
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


def test_of_a_folder_its_names_alone(tmp_path, programs, caplog):
    put_names_on_disk(tmp_path, limit_s=60, path=sync(programs, f'echo "$@" >{tmp_path}/asked'))
    assert (tmp_path / "asked").read_text() == f"{tmp_path}\n"
    assert not caplog.records


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
