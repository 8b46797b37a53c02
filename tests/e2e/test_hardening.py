"""What a hostile client gets: slow, huge, broken and foreign requests, against a whole stack."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import pytest

from http_client import Http
from live_stack import Stack, running_stack

pytestmark = pytest.mark.own_stack

ORIGIN = "https://console.example.com"
PATIENCE_S = 30


@pytest.fixture(scope="module")
def strict_stack() -> Iterator[Stack]:
    """Requests have a second to arrive, and one other origin may call."""
    with running_stack(request_timeout_s=1, cors_origins=ORIGIN) as running:
        yield running


@pytest.fixture(scope="module")
def api(strict_stack: Stack) -> Http:
    return strict_stack.key("admin")


def connected(stack: Stack) -> socket.socket:
    return socket.create_connection(("127.0.0.1", stack.port), timeout=PATIENCE_S)


def drip(connection: socket.socket, data: bytes) -> bytes:
    """Send a byte every tenth of a second until cut off; what came back."""
    connection.settimeout(0.1)
    answer = b""
    for number in range(len(data)):
        try:
            connection.sendall(data[number : number + 1])
            piece = connection.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return answer
        answer += piece
        if not piece:
            return answer
    pytest.fail(f"not cut off within {len(data) / 10:g} s: {answer!r}")


def test_headers_that_come_byte_by_byte_are_cut_off(strict_stack: Stack) -> None:
    with closing(connected(strict_stack)) as connection:
        assert drip(connection, b"GET /health HTTP/1.1\r\nX: " + b"a" * 300) == b""


@pytest.mark.parametrize(
    "head", [b"Content-Length: 5000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n1388\r\n"]
)
def test_a_body_that_comes_byte_by_byte_is_cut_off(strict_stack: Stack, head: bytes) -> None:
    with closing(connected(strict_stack)) as connection:
        connection.sendall(
            b"POST /projects HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + head
        )
        answer = drip(connection, b"{" + b" " * 300)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"did not arrive within 1 s" in answer
    assert b"Connection: close" in answer


def test_slow_clients_keep_nobody_waiting(strict_stack: Stack, api: Http) -> None:
    slow = [connected(strict_stack) for _ in range(50)]
    try:
        for connection in slow:
            connection.sendall(b"POST /projects HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")
        assert api.get("/projects").status == 200
    finally:
        for connection in slow:
            connection.close()


def test_streams_and_waits_outlast_the_time_limit_of_requests(api: Http) -> None:
    record = api.finished("demo", "sleep 3; echo done")
    assert record["status"] == "succeeded"
    command_id = api.shell("demo", "sleep 3; echo done")["id"]
    with api.events("demo", command_id) as reader:
        assert [event.type for event in reader.read()][-1] == "command.finished"


def test_an_idle_connection_serves_again_after_the_time_limit(strict_stack: Stack) -> None:
    with closing(HTTPConnection("127.0.0.1", strict_stack.port, timeout=60)) as connection:

        def status() -> int:
            connection.request("GET", "/health")
            answer = connection.getresponse()
            answer.read()  # whole: it may come in pieces
            return answer.status

        assert status() == 200
        first = connection.sock
        time.sleep(1.5)
        assert status() == 200
        assert connection.sock is first


def test_too_long_a_query_is_refused(api: Http) -> None:
    answer = api.get(f"/projects?cursor={'x' * 5000}")
    assert (answer.status, answer.error["details"][0]["field"]) == (400, "query")


@pytest.mark.parametrize("path", [f"/projects/{'x' * 101}", f"/keys/{'%C3%A9' * 60}"])
def test_too_long_an_id_is_not_found(api: Http, path: str) -> None:
    assert api.get(path).error["code"] == "NOT_FOUND"


@pytest.mark.parametrize("path", ["/projects/a%0Ab", "/%0A", "/keys/%0D%0A/rotate", "/a%00b"])
def test_a_path_with_control_characters_is_not_found(api: Http, path: str) -> None:
    assert api.get(path).error["code"] in ("NOT_FOUND", "METHOD_NOT_ALLOWED")


def test_too_many_and_too_long_headers_are_refused(api: Http) -> None:
    many = {f"X-{number}": "x" for number in range(150)}
    wide = {f"X-{number}": "x" * 8000 for number in range(6)}
    long = {"X-Long": "x" * 9000}
    for headers in (many, wide, long):
        assert api.request("GET", "/projects", headers=headers).status in (400, 431)
    assert api.get("/health").status == 200


NO_REQUESTS = {
    "two lengths": b"POST /projects HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": b"POST /projects HTTP/1.1\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded header": b"GET /health HTTP/1.1\r\nX-API-Key: rdev_\r\n tell-nobody\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: a\r\nHost: tell-nobody\r\n\r\n",
    "no version": b"GET /health?tell-nobody\r\n\r\n",
    "no method": b"<tell-nobody> / HTTP/1.1\r\n\r\n",
    "bytes in the path": b"GET /\xfftell-nobody HTTP/1.1\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "a long header": b"GET /health HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
    "a long line": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("name", list(NO_REQUESTS))
def test_what_is_no_request_is_answered_as_everything_else(strict_stack: Stack, name: str) -> None:
    with closing(connected(strict_stack)) as connection:
        connection.sendall(NO_REQUESTS[name])
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 414 ", b"HTTP/1.1 431 ")), answer
    for header in (b"X-Content-Type-Options: nosniff", b"X-Request-ID: req-", b"Connection: close"):
        assert header in head
    assert json.loads(body)["error"]["code"] == "BAD_REQUEST"
    assert b"tell-nobody" not in answer


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"command": "x", "command": "y"}', "command"),
        (b'{"command": "x", "env": {"A": "1", "A": "2"}}', "A"),
        (b"[" * 500_000, "body"),
        (b'{"a":' * 100_000, "body"),
        (b'{"command": "\xff"}', "body"),
        (b'{"command": "\\ud800"}', "body"),
        (b'{"command": "x", "labels": {"\\ud800": "x"}}', "body"),
        (b'{"command": "x", "timeout_s": NaN}', "timeout_s"),
        (b'{"command": "x", "timeout_s": 1e999}', "timeout_s"),
        (b'{"command": "x", "timeout_s": 1' + b"0" * 100_000 + b"}", "body"),
        (b'{"command": "x", "labels": {"a\\u0000": "x"}}', "labels.a\0.[key]"),
        (b'{"command": "x", "labels": {"a\\n": "x"}}', "labels.a\n.[key]"),
        (b'{"command": "x", "labels": {"a": "\\u0000"}}', "labels.a"),
        (b'{"command": "x", "cwd": "\\u0000"}', "cwd"),
        (b'{"command": "x", "env": {"A": "\\u0000"}}', "env"),
        (b'{"command": "x", "env": {"A\\u0000": "x"}}', "env"),
    ],
)
def test_json_that_is_a_trap_is_refused(api: Http, body: bytes, field: str) -> None:
    json_type = {"Content-Type": "application/json"}
    answer = api.request("POST", "/projects/demo/shell", body, json_type)
    assert answer.status == 400, answer.body
    assert field in [detail["field"] for detail in answer.error["details"]]


@pytest.mark.parametrize("path", ["/health", "/projects", "/nowhere", "/openapi.json", "/metrics"])
def test_every_answer_has_the_security_headers(api: Http, path: str) -> None:
    headers = api.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Strict-Transport-Security"] is None  # plain HTTP
    assert headers["Cache-Control"]
    assert "gunicorn" not in headers["Server"]
    assert "Python" not in headers["Server"]


def test_what_is_refused_before_the_function_has_them_too(api: Http) -> None:
    json_type = {"Content-Type": "application/json"}
    answer = api.request("POST", "/projects", b"x" * 3_000_000, json_type)
    assert answer.status == 413
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_a_preflight_of_an_allowed_origin_needs_no_key(strict_stack: Stack) -> None:
    asking = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    answer = Http(strict_stack.port).request("OPTIONS", "/projects", headers=asking)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "X-API-Key" in answer.headers["Access-Control-Allow-Headers"]
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Credentials"] is None


def test_an_allowed_origin_reads_answers_and_their_headers(api: Http) -> None:
    answer = api.get("/projects", origin=ORIGIN)
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
    assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{ORIGIN}.evil.example"])
def test_no_other_origin_does(api: Http, origin: str) -> None:
    asking = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for answer in (
        api.get("/projects", origin=origin),
        api.request("OPTIONS", "/projects", headers=asking),
    ):
        assert answer.headers["Access-Control-Allow-Origin"] is None


def test_without_a_list_no_origin_does(stack: Stack) -> None:
    asking = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    answer = Http(stack.port).request("OPTIONS", "/projects", headers=asking)
    assert answer.headers["Access-Control-Allow-Origin"] is None


def test_symbolic_links_out_of_the_workspace_lead_nowhere(strict_stack: Stack, api: Http) -> None:
    workspace = strict_stack.workspace("demo")
    (workspace / "inner").mkdir()
    (workspace / "out").symlink_to("/tmp")
    (workspace / "inner" / "up").symlink_to("../..")
    (workspace / "loop").symlink_to("loop")
    (workspace / "chain").symlink_to("inner/up")
    for cwd, reason in [
        ("out", "cwd_outside_workspace"),
        ("inner/up", "cwd_outside_workspace"),
        ("chain", "cwd_outside_workspace"),
        ("loop", "cwd_not_found"),
    ]:
        record = api.finished("demo", "touch it-ran", cwd=cwd)
        assert (record["status"], record["reason"]) == ("failed", reason), cwd
    assert not list(workspace.rglob("it-ran"))
    assert not (workspace.parent / "it-ran").exists()


def test_git_arguments_that_run_programs_never_reach_the_queue(api: Http) -> None:
    args = ["-c", "core.fsmonitor=touch it-ran", "status"]
    answer = api.post("/projects/demo/git", {"args": args})
    assert answer.status == 400
    assert answer.error["details"] == [
        {"field": "args", "message": answer.error["details"][0]["message"]}
    ]
    assert "-c" in answer.error["message"]
    hurt = api.post("/projects/demo/git", {"args": ["status"], "env": {"GIT_PAGER": "x"}})
    assert (hurt.status, hurt.error["details"][0]["field"]) == (400, "env")
    assert api.get("/projects/demo/commands?kind=git").data == []
