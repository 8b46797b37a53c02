"""Bad input, through the running stack: the right code in the envelope, and nothing was run."""

import json

import pytest

from live_stack import Stack

SHELL = "/projects/demo/shell"
TOUCH = {"command": "touch it-ran"}


def refused(answer, status: int, code: str) -> dict:
    assert (answer.status, answer.error["code"]) == (status, code), answer.body
    assert answer.error["message"]
    assert answer.json["meta"]["request_id"] == answer.headers["X-Request-ID"]
    assert answer.json["meta"]["timestamp"].endswith("Z")
    return answer.error


@pytest.fixture(autouse=True)
def _nothing_ran(stack: Stack):
    yield
    assert not (stack.workspace("demo") / "it-ran").exists()


@pytest.mark.parametrize("secret", ["", "x", "rdev_short", "rdev_" + "0" * 38, "é"])
def test_a_wrong_key_is_unauthorized_in_the_same_words(stack: Stack, secret: str) -> None:
    none = stack.admin.request("GET", "/projects", headers={"X-API-Key": ""})
    wrong = stack.admin.request(
        "POST",
        SHELL,
        json.dumps(TOUCH).encode(),
        {"X-API-Key": secret.encode("latin-1").decode("latin-1")},
    )
    said = refused(wrong, 401, "UNAUTHORIZED")
    assert said == refused(none, 401, "UNAUTHORIZED")


def test_a_revoked_key_is_refused_at_the_next_request(stack: Stack) -> None:
    client = stack.key("projects:execute")
    assert client.finished("demo", "true")["status"] == "succeeded"
    assert stack.admin.delete(f"/keys/{client.key_id}").status == 200
    refused(client.post(SHELL, TOUCH), 401, "UNAUTHORIZED")


def test_a_missing_scope_is_forbidden(stack: Stack) -> None:
    reader = stack.key("projects:read")
    refused(reader.post(SHELL, TOUCH), 403, "FORBIDDEN")
    refused(reader.get("/keys"), 403, "FORBIDDEN")
    refused(reader.post("/projects", {"id": "new"}), 403, "FORBIDDEN")


def test_a_key_bound_to_other_projects_sees_nothing_here(stack: Stack) -> None:
    bound = stack.key("projects:read", "projects:execute", projects=["other"])
    refused(bound.post(SHELL, TOUCH), 404, "NOT_FOUND")
    refused(bound.get("/projects/demo"), 404, "NOT_FOUND")
    refused(bound.get("/projects/demo/events"), 404, "NOT_FOUND")
    assert bound.get("/projects").data == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "command"),
        ({"command": 7}, "command"),
        ({"command": "touch it-ran\0"}, "command"),
        ({**TOUCH, "colour": "red"}, "colour"),
        ({**TOUCH, "cwd": "../.."}, "cwd"),
        ({**TOUCH, "cwd": "/"}, "cwd"),
        ({**TOUCH, "env": {"LINENO": "1"}}, "env"),
        ({**TOUCH, "timeout_s": -1}, "timeout_s"),
        ({**TOUCH, "priority": "urgent"}, "priority"),
    ],
)
def test_a_field_that_is_wrong_is_named(stack: Stack, fields: dict, field: str) -> None:
    error = refused(stack.admin.post(SHELL, fields), 400, "BAD_REQUEST")
    assert field in [detail["field"] for detail in error["details"]]


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b'"x"', b"\xff", b'{"command": "a', b""])
def test_what_is_no_json_object_is_refused(stack: Stack, body: bytes) -> None:
    answer = stack.admin.request("POST", SHELL, body, {"Content-Type": "application/json"})
    refused(answer, 400, "BAD_REQUEST")


def test_a_form_is_unsupported(stack: Stack) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    refused(
        stack.admin.request("POST", SHELL, b"command=touch+it-ran", form),
        415,
        "UNSUPPORTED_MEDIA_TYPE",
    )


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_3_mb_is_too_large(stack: Stack, chunked: bool) -> None:
    body = json.dumps({**TOUCH, "stdin": "x" * 3_000_000}).encode()
    sent = iter([body[:1_000_000], body[1_000_000:]]) if chunked else body
    answer = stack.admin.request("POST", SHELL, sent, {"Content-Type": "application/json"})
    refused(answer, 413, "PAYLOAD_TOO_LARGE")


def test_a_cwd_that_leaves_through_a_symlink_runs_nothing(stack: Stack) -> None:
    (stack.workspace("demo") / "way-out").symlink_to("/tmp")
    record = stack.admin.finished("demo", "touch it-ran; touch /tmp/it-ran", cwd="way-out")
    assert (record["status"], record["reason"]) == ("failed", "cwd_outside_workspace")
    assert record["exit_code"] is None
    assert record["started_at"] is None


@pytest.mark.parametrize("name", ["../etc", "a/b", "A", "", "a" * 64])
def test_a_project_of_an_impossible_name_is_refused(stack: Stack, name: str) -> None:
    error = refused(stack.admin.post("/projects", {"id": name}), 400, "BAD_REQUEST")
    assert error["details"][0]["field"] == "id"


def test_what_does_not_exist_is_not_found(stack: Stack) -> None:
    for path in (
        "/nothing",
        "/projects/none",
        "/projects/none/commands",
        "/projects/demo/commands/cmd-1",
        "/projects/demo/events?stream_id=cmd-1",
        "/projects/..%2fetc",
        "/projects/demo/nothing",
        "/keys/key-1",
    ):
        refused(stack.admin.get(path), 404, "NOT_FOUND")
    refused(stack.admin.post("/projects/none/shell", TOUCH), 404, "NOT_FOUND")


def test_a_wrong_method_says_which_are_right(stack: Stack) -> None:
    answer = stack.admin.request("PUT", SHELL)
    refused(answer, 405, "METHOD_NOT_ALLOWED")
    assert "POST" in answer.headers["Allow"]
    refused(stack.admin.post("/health"), 405, "METHOD_NOT_ALLOWED")


def test_ids_and_ranges_that_make_no_sense_are_refused(stack: Stack) -> None:
    command = stack.admin.finished("demo", "echo hi")["id"]
    events = f"/projects/demo/events?stream_id={command}"
    error = refused(stack.admin.get(events + "&after=abc"), 400, "BAD_REQUEST")
    assert error["details"][0]["field"] == "after"
    error = refused(stack.admin.get(events, last_event_id="x"), 400, "BAD_REQUEST")
    assert error["details"][0]["field"] == "Last-Event-ID"
    output = f"/projects/demo/commands/{command}/output"
    beyond = stack.admin.get(output, range="bytes=100-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, "bytes */3")
    part = stack.admin.get(output, range="bytes=1-1")
    assert (part.status, part.body) == (206, b"i")


def test_a_callers_request_id_comes_back(stack: Stack) -> None:
    answer = stack.admin.get("/projects", x_request_id="my-id-1")
    assert answer.headers["X-Request-ID"] == answer.json["meta"]["request_id"] == "my-id-1"
    for odd in ("x" * 200, "a\tb"):
        assert stack.admin.get("/projects", x_request_id=odd).headers["X-Request-ID"] != odd


def test_a_key_cannot_make_one_that_may_more(stack: Stack) -> None:
    maker = stack.key("keys:admin", projects=["demo"])
    refused(maker.post("/keys", {"name": "n", "scopes": ["admin"]}), 403, "FORBIDDEN")
