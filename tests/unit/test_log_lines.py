"""What a process writes, whoever wrote it and wherever it goes."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from live_stack import wait_for

PROGRAM = """
import logging, threading, warnings
from rdev.platform.logs import configure
configure()
logging.getLogger("a").info("said %d", 1)
logging.getLogger("rdev.a").debug("below")
logging.getLogger("other").debug("not rdev's")
warnings.warn("beware")
failing = threading.Thread(target=lambda: 1 / 0, name="failing")
failing.start(); failing.join()
import flask
app = flask.Flask("test")
with app.test_request_context(headers={"traceparent": "00-%s-00f067aa0ba902b7-01" % ("a" * 32)}):
    flask.request.environ["rdev.request_id"] = "req-1"
    logging.getLogger("a").warning("within\\na request")
with app.test_request_context(headers={"traceparent": "nonsense"}):
    logging.getLogger("a").warning("traced by nobody")
raise LookupError("the end")
"""


def run(program: str = PROGRAM, **variables: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == b""
    return done.stderr


@pytest.fixture(scope="module")
def written() -> dict[str, dict[str, Any]]:
    """The lines, by their text."""
    lines = [json.loads(line) for line in run(RDEV_LOG_LEVEL="debug").splitlines()]
    return {line["event"]: line for line in lines}


def test_each_event_is_one_line_of_json(written: dict[str, dict[str, Any]]) -> None:
    assert written["said 1"]["level"] == "info"
    assert written["said 1"]["logger"] == "a"
    assert written["within\na request"]["level"] == "warning"
    assert all(line["timestamp"].endswith("Z") for line in written.values())


def test_a_line_within_a_request_has_its_id_and_its_callers_trace(
    written: dict[str, dict[str, Any]],
) -> None:
    line = written["within\na request"]
    assert (line["request_id"], line["trace_id"]) == ("req-1", "a" * 32)
    assert "trace_id" not in written["traced by nobody"]
    assert "request_id" not in written["said 1"]


def test_what_ends_a_thread_or_the_process_is_an_event_too(
    written: dict[str, dict[str, Any]],
) -> None:
    thread = written["failing was ended by an error"]
    assert thread["level"] == "error"
    assert "ZeroDivisionError" in thread["exception"]
    process = written["the process was ended by an error"]
    assert (process["level"], process["logger"]) == ("critical", "rdev.platform.logs")
    assert "LookupError: the end" in process["exception"]


def test_warnings_are_events(written: dict[str, dict[str, Any]]) -> None:
    (warning,) = [line for line in written.values() if line["logger"] == "py.warnings"]
    assert "beware" in warning["event"]


def test_only_rdevs_own_lines_go_below_info(written: dict[str, dict[str, Any]]) -> None:
    assert written["below"]["level"] == "debug"
    assert "not rdev's" not in written
    assert b'"below"' not in run()


def test_gunicorns_lines_are_events(tmp_path: Path) -> None:
    program = """
from rdev.platform.logs import configure
configure()
from rdev.platform.served import Served
def load():
    raise LookupError("cannot be loaded")
Served(load, bind="unix:at").run()
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    # Why it gives up gunicorn also prints, past all logs.
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith(b"{")]
    failed = [line for line in lines if "LookupError" in line.get("exception", "")]
    assert [line["logger"] for line in failed] == ["gunicorn.error"]


def test_people_on_a_terminal_get_text() -> None:
    reading, writing = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={"PATH": os.environ["PATH"], "TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=writing,
        ) as process:
            shown = b""

            def all_of_it() -> bool:
                nonlocal shown
                shown += os.read(reading, 65536)
                return b"LookupError: the end" in shown

            wait_for(all_of_it)
            process.wait(60)
    finally:
        os.close(reading)
        os.close(writing)
    assert b"said 1" in shown
    assert b'{"' not in shown


def test_text_can_be_asked_for_where_there_is_no_terminal() -> None:
    text = run(RDEV_LOG_FORMAT="text")
    assert b"said 1" in text
    assert b'{"' not in text
