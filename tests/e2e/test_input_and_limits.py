"""Input for running commands, and limits that the kernel holds, through the whole stack."""

import base64
import hashlib
import os
import random
import signal
import time
from typing import Any

import pytest

from http_client import ENOUGH_S, Answer, Http
from live_stack import Stack, wait_for
from rdev.adapters.workspaces import cgroups
from rdev.adapters.workspaces.cgroup import BYTES_A_MB
from rdev.domain.input import MOST_BYTES, MOST_WAITING_BYTES
from target import Target

BYTES = {"Content-Type": "application/octet-stream"}
GREEDY = "exec python3 -c 'x = bytearray(400_000_000); print(len(x))'"


class Stdin:
    """One command's input, as a client sends it: by offset, again where it was told to wait."""

    def __init__(self, api: Http, project: str, command: Any, offset: int = 0) -> None:
        self._api = api
        self._path = f"/projects/{project}/commands/{command['id']}/input"
        self.offset = offset

    def post(self, data: bytes = b"", query: str = "") -> Answer:
        return self._api.request("POST", f"{self._path}{query}", data, BYTES)

    def post_json(self, **fields: Any) -> Answer:
        return self._api.post(self._path, fields)

    def send(self, data: bytes) -> None:
        deadline = time.monotonic() + ENOUGH_S
        while True:
            answer = self.post(data, f"?offset={self.offset}")
            if answer.status not in (429, 502, 503):
                break
            assert time.monotonic() < deadline, answer.body
            time.sleep(0.02)
        assert answer.status == 202, answer.body
        self.offset = answer.data["offset"]

    def close(self) -> None:
        assert self.post(query="?close=true").data["closed"] is True


def opened(api: Http, project: str, line: str, **fields: Any) -> tuple[Any, Stdin]:
    command = api.shell(project, line, stdin_open=True, **fields)
    return command, Stdin(api, project, command, len(fields.get("stdin", "")))


def ended(api: Http, project: str, command: Any) -> Any:
    def record() -> Any:
        now = api.record(project, command["id"])
        return now if now["finished_at"] else None

    return wait_for(record)


def test_a_conversation_with_a_running_command(api: Http, project: str) -> None:
    command, stdin = opened(api, project, 'while read -r x; do echo "you said $x"; done; echo bye')
    assert command["stdin_open"] is True
    said = b""
    for word in ("one", "two", "three"):
        stdin.send(f"{word}\n".encode())
        said += f"you said {word}\n".encode()
        wait_for(lambda said=said: api.output(project, command["id"]) == said)
    stdin.close()
    assert ended(api, project, command)["status"] == "succeeded"
    assert api.output(project, command["id"]) == said + b"bye\n"


def test_megabytes_go_in_while_the_command_reads_slowly(api: Http, project: str) -> None:
    data = random.Random(1).randbytes(4_000_000)
    line = "sleep 1; (head -c 1000000; sleep 0.2; cat) | sha256sum"
    command, stdin = opened(api, project, line)
    for start in range(0, len(data), 700_000):
        stdin.send(data[start : start + 700_000])
    stdin.close()
    assert ended(api, project, command)["status"] == "succeeded"
    digest = hashlib.sha256(data).hexdigest()
    assert api.output(project, command["id"]).split()[0].decode() == digest


def test_what_was_given_at_the_start_comes_first(api: Http, project: str) -> None:
    command, stdin = opened(api, project, "cat", stdin="first ")
    assert stdin.post(b"x", "?offset=99").status == 409
    stdin.send(b"second")
    assert stdin.offset == 12
    stdin.close()
    ended(api, project, command)
    assert api.output(project, command["id"]) == b"first second"


def test_a_piece_that_is_sent_again_goes_in_once(api: Http, project: str) -> None:
    command, stdin = opened(api, project, "cat")
    for _ in range(3):
        answer = stdin.post(b"abc", "?offset=0")
        assert (answer.status, answer.data["offset"]) == (202, 3)
    assert stdin.post(b"abcdef", "?offset=0").data["offset"] == 6
    last = stdin.post(b"ghi", "?offset=6&close=true")
    assert last.data == {"id": command["id"], "offset": 9, "closed": True}
    ended(api, project, command)
    assert api.output(project, command["id"]) == b"abcdefghi"


def test_json_carries_text_or_any_bytes(api: Http, project: str) -> None:
    command, stdin = opened(api, project, "cat")
    assert stdin.post_json(data="é\n").data["offset"] == 3
    raw = bytes(range(256))
    encoded = base64.b64encode(raw).decode()
    assert stdin.post_json(data=encoded, encoding="base64", offset=3, close=True).status == 202
    ended(api, project, command)
    assert api.output(project, command["id"]) == "é\n".encode() + raw


def test_input_for_a_command_that_still_waits_is_kept(stack: Stack, project: str) -> None:
    one_at_a_time = stack.key("admin", max_concurrent=1)
    first = one_at_a_time.shell(project, "until [ -e go ]; do sleep 0.02; done")
    command, stdin = opened(one_at_a_time, project, "cat")
    stdin.send(b"early")
    stdin.close()
    assert one_at_a_time.record(project, command["id"])["status"] == "queued"
    (stack.workspace(project) / "go").touch()
    assert ended(one_at_a_time, project, command)["status"] == "succeeded"
    assert one_at_a_time.output(project, command["id"]) == b"early"
    ended(one_at_a_time, project, first)


def test_a_command_that_does_not_read_takes_a_bounded_amount(
    stack: Stack, api: Http, project: str
) -> None:
    command, stdin = opened(api, project, "until [ -e go ]; do sleep 0.02; done; wc -c")
    piece = bytes(250_000)

    def full() -> Answer | None:
        answer = stdin.post(piece)
        return answer if answer.status != 202 else None

    refused = wait_for(full)
    assert (refused.status, refused.error["code"]) == (429, "TOO_MANY_REQUESTS")
    assert "wait for the command to read" in refused.error["message"]
    assert int(refused.headers["Retry-After"]) >= 1
    (stack.workspace(project) / "go").touch()
    sent = wait_for(lambda: stdin.post(piece).status == 202) and stdin.post(query="?close=true")
    ended(api, project, command)
    assert int(api.output(project, command["id"])) == sent.data["offset"]


def test_input_that_cannot_be_taken_is_refused_with_a_reason(api: Http, project: str) -> None:
    without = api.shell(project, "sleep 60")
    answer = Stdin(api, project, without).post(b"x")
    assert (answer.status, answer.error["code"]) == (409, "CONFLICT")
    assert "stdin_open" in answer.error["message"]

    command, stdin = opened(api, project, "cat; sleep 60")
    assert stdin.post(bytes(MOST_WAITING_BYTES + 1)).status == 413
    stdin.close()
    assert stdin.post(query="?close=true").status == 202
    closed = stdin.post(b"x")
    assert (closed.status, "closed" in closed.error["message"]) == (409, True)

    api.post(f"/projects/{project}/commands/{command['id']}/cancel")
    ended(api, project, command)
    over = stdin.post(b"x")
    assert (over.status, "ended" in over.error["message"]) == (409, True)
    assert stdin.post(query="?close=true").status == 409


def test_a_command_that_closed_its_stdin_refuses_input(api: Http, project: str) -> None:
    command, stdin = opened(api, project, "exec <&-; sleep 60")

    def refused() -> bool:
        answer = stdin.post(bytes(100_000))
        return answer.status == 409 and "closed" in answer.error["message"]

    wait_for(refused)
    assert api.record(project, command["id"])["status"] == "running"


def test_in_all_a_command_takes_so_much_input(api: Http, project: str) -> None:
    command, stdin = opened(api, project, "wc -c")
    piece = bytes(MOST_WAITING_BYTES)
    while stdin.offset < MOST_BYTES:
        stdin.send(piece[: MOST_BYTES - stdin.offset])
    refused = stdin.post(b"x")
    assert (refused.status, refused.error["code"]) == (413, "PAYLOAD_TOO_LARGE")
    stdin.close()
    assert ended(api, project, command)["status"] == "succeeded"
    assert int(api.output(project, command["id"])) == MOST_BYTES


@pytest.mark.parametrize(
    ("query", "body", "headers", "status"),
    [
        ("", b"x", {}, 415),
        ("", b"x", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ("?offset=-1", b"x", BYTES, 400),
        ("?offset=a", b"x", BYTES, 400),
        ("?close=perhaps", b"", BYTES, 400),
        ("?more=1", b"x", BYTES, 400),
        ("", b'{"data": 1}', {"Content-Type": "application/json"}, 400),
        ("", b'{"text": "x"}', {"Content-Type": "application/json"}, 400),
        ("", b'{"data": "x", "encoding": "base64"}', {"Content-Type": "application/json"}, 400),
        ("", b'{"data": "\\ud800"}', {"Content-Type": "application/json"}, 400),
    ],
)
def test_malformed_input_is_refused(
    api: Http, project: str, query: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    command, _ = opened(api, project, "cat")
    path = f"/projects/{project}/commands/{command['id']}/input{query}"
    assert api.request("POST", path, body, headers).status == status


def test_input_needs_the_scope_and_the_project(target: Target, api: Http, project: str) -> None:
    command, _ = opened(api, project, "cat")
    assert Stdin(target.key("projects:read"), project, command).post(b"x").status == 403
    other = target.key("projects:execute", projects=["another"])
    assert Stdin(other, project, command).post(b"x").status == 404
    assert Stdin(api, project, {"id": "cmd-none"}).post(b"x").status == 404


@pytest.mark.slow
def test_each_byte_goes_in_once_through_kill_9_of_runner_and_functions(
    stack: Stack, api: Http, project: str
) -> None:
    data = random.Random(5).randbytes(6_000_000)
    command, stdin = opened(api, project, "(head -c 3000000; sleep 1; cat) | sha256sum")
    for number, start in enumerate(range(0, len(data), 300_000)):
        if number in (3, 12):
            for pid in stack.pids("runner"):
                os.kill(pid, signal.SIGKILL)
        if number == 6:
            stack.kill("functions")
            stack.await_up()
        stdin.send(data[start : start + 300_000])
    stdin.close()
    assert ended(api, project, command)["status"] == "succeeded"
    digest = hashlib.sha256(data).hexdigest()
    assert api.output(project, command["id"]).split()[0].decode() == digest


# --- limits --------------------------------------------------------------------------------------


def enforced(limit: str) -> bool:
    return limit in cgroups.find().limits


@pytest.mark.parametrize("limit", ["memory_mb", "processes"])
def test_a_limit_that_cannot_be_enforced_is_refused(api: Http, project: str, limit: str) -> None:
    if enforced(limit):
        pytest.skip(f"{limit} can be enforced here")
    answer = api.post(f"/projects/{project}/shell", {"command": "true", "limits": {limit: 100}})
    assert answer.status == 400
    assert answer.error["details"] == [
        {"field": f"limits.{limit}", "message": f"{limit} is not enforceable here"}
    ]


def test_a_command_over_its_memory_is_oom_killed(api: Http, project: str) -> None:
    if not enforced("memory_mb"):
        pytest.skip("no control group for memory can be had here")
    record = api.finished(project, GREEDY, limits={"memory_mb": 50})
    assert (record["status"], record["reason"]) == ("failed", "oom_killed")
    assert (record["exit_code"], record["signal"]) == (137, None)
    assert record["usage"]["oom_kills"] == 1
    assert record["usage"]["memory_max_bytes"] <= 50 * BYTES_A_MB


def test_137_alone_is_not_called_oom_killed(api: Http, project: str) -> None:
    limits = {"limits": {"memory_mb": 100}} if enforced("memory_mb") else {}
    record = api.finished(project, "kill -KILL $$", **limits)
    assert (record["status"], record["reason"]) == ("failed", "exit_code")
    assert record["exit_code"] == 137


def test_a_command_within_its_limits_tells_what_it_used(api: Http, project: str) -> None:
    if not (enforced("memory_mb") and enforced("processes")):
        pytest.skip("no control group can be had here")
    record = api.finished(project, "echo hi", limits={"memory_mb": 100, "processes": 10})
    assert record["status"] == "succeeded"
    assert 0 < record["usage"]["memory_max_bytes"] <= 100 * BYTES_A_MB
    assert record["limits"] == {"memory_mb": 100, "processes": 10}


def test_a_command_cannot_fork_beyond_its_processes(api: Http, project: str) -> None:
    if not enforced("processes"):
        pytest.skip("no control group for processes can be had here")
    line = "for i in 1 2 3 4 5 6 7 8; do sleep 60 & done; echo all"
    record = api.finished(project, line, limits={"processes": 4})
    assert record["status"] == "failed"
