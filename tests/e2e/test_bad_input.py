"""What is refused: by the right code, in the envelope, and with nothing run."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from http_client import Answer, Http
from live_stack import Stack
from rdev.domain.key_secrets import new_secret
from rdev.http.envelope import STATUS
from target import Target

ASKED_ID = "req-of-the-test"
TOUCH = {"command": "touch it-ran"}
THREE_MB = 3 * 1024 * 1024


@pytest.fixture
def shell(target: Target, api: Http, project: str) -> Iterator[str]:
    """The path that would run a command; afterwards nothing has run and nothing is left."""
    yield f"/projects/{project}/shell"
    assert api.get(f"/projects/{project}/commands").data == []
    if isinstance(target, Stack):
        assert list(target.workspace(project).iterdir()) == []
        assert target.commands_left(project) == []


def refused(answer: Answer, code: str, status: int | None = None) -> Any:
    """The error of an answer that wears the envelope as it should."""
    assert answer.status == (status or STATUS[code]), answer.body
    assert answer.headers["Content-Type"] == "application/json"
    assert set(answer.json) == {"error", "meta"}
    assert answer.error["code"] == code
    assert answer.error["message"]
    assert answer.json["meta"]["request_id"] == answer.headers["X-Request-ID"]
    assert answer.json["meta"]["timestamp"].endswith("Z")
    return answer.error


def post(client: Http, path: str, body: Any, **headers: str) -> Answer:
    answer = client.post(path, body, x_request_id=ASKED_ID, **headers)
    assert answer.headers["X-Request-ID"] == ASKED_ID
    return answer


def fields(error: Any) -> set[str]:
    return {detail["field"] for detail in error["details"]}


# --- who is asking -------------------------------------------------------------------------------


def test_every_wrong_key_gets_the_same_words(target: Target, shell: str) -> None:
    revoked = target.key()
    assert target.admin.delete(f"/keys/{revoked.key_id}").status == 200
    wrong = [None, "", "nonsense", new_secret(), new_secret()[:-1] + "!", revoked.secret, "ключ"]
    clients = [target.client(key and key.encode().decode("latin-1")) for key in wrong]
    errors = [refused(post(client, shell, TOUCH), "UNAUTHORIZED") for client in clients]
    assert all(error == errors[0] for error in errors)


@pytest.mark.parametrize("value", ["Bearer", "Bearer x", "Basic cmRldjpyZGV2", "rdev_x", ""])
def test_other_authorization_is_refused(target: Target, shell: str, value: str) -> None:
    answer = post(target.client(), shell, TOUCH, authorization=value)
    refused(answer, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_bearer_token_is_a_key(target: Target, api: Http) -> None:
    answer = target.client().get("/projects", authorization=f"Bearer {api.secret}")
    assert answer.status == 200


def test_a_key_is_refused_at_the_next_request_after_its_revocation(target: Target) -> None:
    client = target.key()
    for _ in range(3):
        assert client.get("/projects").status == 200
    assert target.admin.delete(f"/keys/{client.key_id}").status == 200
    refused(client.get("/projects"), "UNAUTHORIZED")


def test_a_key_past_its_expiry_is_refused(target: Target, shell: str) -> None:
    client = target.key("admin", expires_at="2020-01-01T00:00:00Z")
    refused(post(client, shell, TOUCH), "UNAUTHORIZED")


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/projects/{}/shell", "projects:execute"),
        ("POST", "/projects/{}/git", "projects:execute"),
        ("POST", "/projects/{}/claude", "projects:execute"),
        ("POST", "/projects/{}/commands/cmd-1/cancel", "projects:execute"),
        ("GET", "/projects", "projects:read"),
        ("GET", "/projects/{}", "projects:read"),
        ("GET", "/projects/{}/events", "projects:read"),
        ("GET", "/projects/{}/commands", "projects:read"),
        ("GET", "/projects/{}/commands/cmd-1/output", "projects:read"),
        ("GET", "/queue", "projects:read"),
        ("POST", "/projects", "projects:write"),
        ("DELETE", "/projects/{}", "projects:write"),
        ("GET", "/keys", "keys:admin"),
        ("POST", "/keys", "keys:admin"),
        ("DELETE", "/keys/key-1", "keys:admin"),
    ],
)
def test_a_missing_scope_is_forbidden(
    target: Target, shell: str, project: str, method: str, path: str, scope: str
) -> None:
    every = {"projects:read", "projects:write", "projects:execute", "keys:admin", "audit:read"}
    client = target.key(*sorted(every - {scope}))
    json_body = {"Content-Type": "application/json"}
    answer = client.request(method, path.format(project), b"{}", json_body)
    assert scope in refused(answer, "FORBIDDEN")["message"]


def test_a_key_does_not_see_projects_that_it_is_not_bound_to(
    target: Target, shell: str, project: str
) -> None:
    client = target.key("admin", projects=["elsewhere-*"])
    paths = ["", "/events", "/commands", "/commands/cmd-1", "/commands/cmd-1/output"]
    for path in paths:
        refused(client.get(f"/projects/{project}{path}"), "NOT_FOUND")
    hidden = refused(post(client, shell, TOUCH), "NOT_FOUND")
    unknown = refused(post(client, "/projects/elsewhere-1/shell", TOUCH), "NOT_FOUND")
    assert hidden["message"].replace(project, "elsewhere-1") == unknown["message"]
    refused(client.post(f"/projects/{project}/commands/cmd-1/cancel"), "NOT_FOUND")
    refused(client.delete(f"/projects/{project}"), "NOT_FOUND")
    assert client.get("/projects").data == []


# --- what is asked -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "command"),
        ({"command": 7}, "command"),
        ({"command": None}, "command"),
        ({"command": ["touch", "it-ran"]}, "command"),
        ({"command": ""}, "command"),
        ({"command": "touch it-ran\0"}, "command"),
        ({"command": "x" * 200_000}, "command"),
        ({**TOUCH, "comand": "x"}, "comand"),
        ({**TOUCH, "args": ["x"]}, "args"),
        ({**TOUCH, "timeout_s": "5"}, "timeout_s"),
        ({**TOUCH, "timeout_s": 0}, "timeout_s"),
        ({**TOUCH, "timeout_s": -1}, "timeout_s"),
        ({**TOUCH, "timeout_s": True}, "timeout_s"),
        ({**TOUCH, "priority": "urgent"}, "priority"),
        ({**TOUCH, "env": {"A": 1}}, "env.A"),
        ({**TOUCH, "env": {"A=B": "x"}}, "env"),
        ({**TOUCH, "env": {"A": "x\0y"}}, "env"),
        ({**TOUCH, "env": {"RDEV_COMMAND_ID": "x"}}, "env"),
        ({**TOUCH, "env": {"LINENO": "1"}}, "env"),
        ({**TOUCH, "cwd": ".."}, "cwd"),
        ({**TOUCH, "cwd": "../.."}, "cwd"),
        ({**TOUCH, "cwd": "a/../../b"}, "cwd"),
        ({**TOUCH, "cwd": "/etc"}, "cwd"),
        ({**TOUCH, "cwd": "a\0b"}, "cwd"),
        ({**TOUCH, "limits": {"disk_mb": 1}}, "limits.disk_mb"),
        ({**TOUCH, "labels": {"a": 1}}, "labels.a"),
    ],
)
def test_a_wrong_field_is_named(api: Http, shell: str, body: Any, field: str) -> None:
    assert fields(refused(post(api, shell, body), "BAD_REQUEST")) == {field}


def test_every_wrong_field_is_named_at_once(api: Http, shell: str) -> None:
    error = refused(post(api, shell, {"command": 1, "cwd": "..", "more": 1}), "BAD_REQUEST")
    assert fields(error) == {"command", "cwd", "more"}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nonsense", b"[]", b'"text"', b"null", b'{"command": "touch it-ran"', b"\xff\xfe"],
)
def test_what_is_no_json_object_is_refused(api: Http, shell: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json", "X-Request-ID": ASKED_ID}
    answer = api.request("POST", shell, body, headers)
    refused(answer, "BAD_REQUEST")
    assert answer.headers["X-Request-ID"] == ASKED_ID


@pytest.mark.parametrize("mimetype", ["text/plain", "application/x-www-form-urlencoded", "x"])
def test_another_content_type_is_refused(api: Http, shell: str, mimetype: str) -> None:
    body = json.dumps(TOUCH).encode()
    answer = api.request("POST", shell, body, {"Content-Type": mimetype})
    assert "application/json" in refused(answer, "UNSUPPORTED_MEDIA_TYPE")["message"]


def test_a_body_of_three_megabytes_is_refused(api: Http, shell: str) -> None:
    body = json.dumps({**TOUCH, "stdin": "x" * THREE_MB}).encode()
    headers = {"Content-Type": "application/json", "X-Request-ID": ASKED_ID}
    pieces = (body[at : at + 65536] for at in range(0, len(body), 65536))
    for given in (body, pieces):
        answer = api.request("POST", shell, given, headers)
        refused(answer, "PAYLOAD_TOO_LARGE")
        assert answer.headers["X-Request-ID"] == ASKED_ID


def test_a_body_sent_in_chunks_is_taken(api: Http, project: str) -> None:
    pieces = iter([b'{"command": ', b'"exit 3"}'])
    headers = {"Content-Type": "application/json", "Prefer": "wait=30"}
    answer = api.request("POST", f"/projects/{project}/shell", pieces, headers)
    assert (answer.status, answer.data["exit_code"]) == (200, 3)


@pytest.mark.parametrize("key", ["", "ü", "x" * 256])
def test_a_wrong_idempotency_key_is_refused(api: Http, shell: str, key: str) -> None:
    answer = post(api, shell, TOUCH, idempotency_key=key.encode().decode("latin-1"))
    assert fields(refused(answer, "BAD_REQUEST")) == {"Idempotency-Key"}


@pytest.mark.parametrize("asked", ["", "ü", "a\tb", "x" * 129])
def test_a_request_id_that_cannot_be_shown_is_replaced(api: Http, asked: str) -> None:
    answer = api.get("/projects", x_request_id=asked.encode().decode("latin-1"))
    assert answer.headers["X-Request-ID"].startswith("req-")
    assert answer.json["meta"]["request_id"] == answer.headers["X-Request-ID"]


def test_a_cwd_through_a_symlink_leads_nowhere(stack: Stack, api: Http, project: str) -> None:
    """The symlink can change until the start, so the command is accepted, and then not run."""
    (stack.workspace(project) / "way-out").symlink_to("/tmp")
    record = api.finished(project, "touch it-ran", cwd="way-out")
    assert (record["status"], record["reason"]) == ("failed", "cwd_outside_workspace")
    assert (record["exit_code"], record["started_at"]) == (None, None)
    assert record["output"]["stdout_bytes"] == record["output"]["stderr_bytes"] == 0
    record = api.finished(project, "touch it-ran", cwd="nowhere")
    assert (record["status"], record["reason"]) == ("failed", "cwd_not_found")
    (stack.workspace(project) / "inside").mkdir()
    (stack.workspace(project) / "way-in").symlink_to("inside")
    assert api.finished(project, "touch it-ran", cwd="way-in")["status"] == "succeeded"
    found = stack.workspace(project).rglob("it-ran")
    assert [path.parent.name for path in found] == ["inside"]


# --- where it is asked ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nowhere", "..%2Fetc", "../etc", "%2e%2e/etc", "%00", "a b"])
def test_what_is_no_project_is_not_found(api: Http, name: str) -> None:
    path = name.replace(" ", "%20")
    refused(post(api, f"/projects/{path}/shell", TOUCH), "NOT_FOUND")
    refused(api.get(f"/projects/{path}/events"), "NOT_FOUND")
    refused(api.get(f"/projects/{path}/commands"), "NOT_FOUND")


@pytest.mark.parametrize("name", ["../etc", "..", "", "a/b", "A", "-a", "a-", "a" * 64, "a\0", "é"])
def test_what_is_no_name_makes_no_project(stack: Stack, api: Http, name: str) -> None:
    before = sorted(stack.home.rglob("workspaces/*"))
    error = refused(post(api, "/projects", {"id": name}), "BAD_REQUEST")
    assert fields(error) == {"id"}
    assert sorted(stack.home.rglob("workspaces/*")) == before


@pytest.mark.parametrize("url", ["ext::sh -c touch% /tmp/x", "-oProxyCommand=x", "/etc", "a b"])
def test_what_is_no_address_is_not_cloned(api: Http, url: str) -> None:
    error = refused(post(api, "/projects", {"id": "cloned", "git_url": url}), "BAD_REQUEST")
    assert fields(error) == {"git_url"}
    refused(api.get("/projects/cloned"), "NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/projects/demo/shell", "POST"),
        ("PUT", "/keys", "GET, HEAD, POST"),
        ("PATCH", "/projects", "GET, HEAD, POST"),
        ("POST", "/projects/demo/events", "GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
        ("DELETE", "/projects/demo/commands/cmd-1", "GET, HEAD"),
    ],
)
def test_a_wrong_method_says_which_are_right(
    api: Http, method: str, path: str, allowed: str
) -> None:
    answer = api.request(method, path, b"{}", {"Content-Type": "application/json"})
    refused(answer, "METHOD_NOT_ALLOWED")
    right = set(answer.headers["Allow"].split(", ")) - {"OPTIONS"}
    assert right == set(allowed.split(", "))


@pytest.mark.parametrize(
    "path", ["/nowhere", "/projects/demo/nowhere", "/keys/a/b", "//keys", "/projects/demo/events/x"]
)
def test_an_unknown_path_is_not_found(api: Http, path: str) -> None:
    refused(api.get(path), "NOT_FOUND")


@pytest.mark.parametrize("value", ["abc", "-1", "1-", "1-2-3", "1.5", "9" * 30])
def test_an_id_that_is_none_is_refused(api: Http, project: str, value: str) -> None:
    command_id = api.finished(project, "echo hi")["id"]
    for path in (
        f"/projects/{project}/events",
        f"/projects/{project}/events?stream_id={command_id}",
    ):
        answer = api.get(path, last_event_id=value)
        assert fields(refused(answer, "BAD_REQUEST")) == {"Last-Event-ID"}
        more = "&" if "?" in path else "?"
        answer = api.get(f"{path}{more}after={value}")
        assert fields(refused(answer, "BAD_REQUEST")) == {"after"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("commands?limit=0", "limit"),
        ("commands?limit=x", "limit"),
        ("commands?status=done", "status"),
        ("commands?nope=1", "nope"),
        ("commands?limit=1&limit=2", "limit"),
        ("commands?since=yesterday", "since"),
        ("events?nope=1", "nope"),
    ],
)
def test_a_wrong_query_parameter_is_named(api: Http, query: str, field: str) -> None:
    error = refused(api.get(f"/projects/demo/{query}"), "BAD_REQUEST")
    assert fields(error) == {field}


def test_a_range_is_taken_or_refused(api: Http, project: str) -> None:
    command_id = api.finished(project, "printf 0123456789")["id"]
    path = f"/projects/{project}/commands/{command_id}/output?stream=stdout"
    for asked, status, body in [
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=5-100", 206, b"56789"),
    ]:
        answer = api.get(path, range=asked)
        assert (answer.status, answer.body) == (status, body), asked
    answer = api.get(path, range="bytes=10-")
    assert refused(answer, "BAD_REQUEST", 416)
    assert answer.headers["Content-Range"] == "bytes */10"
    refused(api.get(f"{path}x"), "BAD_REQUEST")


def test_an_unknown_command_is_not_found(api: Http, project: str) -> None:
    for end in ("", "/output"):
        refused(api.get(f"/projects/{project}/commands/cmd-1{end}"), "NOT_FOUND")
    refused(api.get(f"/projects/{project}/events?stream_id=cmd-1"), "NOT_FOUND")
    refused(api.post(f"/projects/{project}/commands/cmd-1/cancel"), "NOT_FOUND")
    other = api.finished("demo", "true")["id"]
    refused(api.get(f"/projects/{project}/commands/{other}"), "NOT_FOUND")
    refused(api.get(f"/projects/{project}/events?stream_id={other}"), "NOT_FOUND")
