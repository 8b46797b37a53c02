"""What the processes of a running stack write: one JSON object an event, that says where it
belongs."""

import json
import re
import secrets
from typing import Any

from http_client import Http
from live_stack import Stack, wait_for

LEVELS = {"debug", "info", "warning", "error", "critical"}
PROCESSES = ("functions", "runner", "triggers")


def lines(stack: Stack, process: str) -> list[dict[str, Any]]:
    """The whole lines so far; fails where one is no JSON object."""
    text = (stack.home / "log" / f"{process}.log").read_text()
    found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    assert all(isinstance(line, dict) for line in found)
    return found


def of_request(stack: Stack, request_id: str) -> dict[str, Any]:
    def found() -> list[dict[str, Any]]:
        return [line for line in lines(stack, "functions") if line.get("request_id") == request_id]

    (line,) = wait_for(found)
    return line


def test_a_requests_line_has_its_id_and_its_trace(stack: Stack, api: Http, project: str) -> None:
    request_id, trace_id = f"req-{secrets.token_hex(8)}", secrets.token_hex(16)
    parent = f"00-{trace_id}-00f067aa0ba902b7-01"
    answer = api.request(
        "GET",
        f"/projects/{project}?nowhere=1",
        headers={"X-Request-ID": request_id, "traceparent": parent},
    )
    line = of_request(stack, request_id)
    assert line["status"] == answer.status
    assert (line["event"], line["level"]) == ("answered", "debug")
    assert (line["method"], line["route"]) == ("GET", "/projects/{project_id}")
    assert line["trace_id"] == trace_id
    assert re.fullmatch(r"[0-9a-f]{16}", line["span_id"])
    assert project not in json.dumps(line)


def test_every_line_of_every_process_is_one_event(stack: Stack, api: Http, project: str) -> None:
    assert api.finished(project, "echo out")["status"] == "succeeded"
    for process in PROCESSES:
        for line in lines(stack, process):
            assert line["level"] in LEVELS, line
            assert isinstance(line["event"], str)
            assert line["event"]
            assert line["logger"]
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line["timestamp"]), line
    assert lines(stack, "functions")


def test_below_info_nobody_speaks_but_rdev(stack: Stack, api: Http, project: str) -> None:
    assert api.finished(project, "echo out")["status"] == "succeeded"
    below = [
        line["logger"]
        for process in PROCESSES
        for line in lines(stack, process)
        if line["level"] == "debug"
    ]
    assert below
    assert {logger.partition(".")[0] for logger in below} == {"rdev"}
