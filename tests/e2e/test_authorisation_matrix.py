"""Every endpoint, with every scope, from the wrong place, for the wrong project, too late, or not.

The table is written down here once more, from the design: what the code says of itself proves
nothing.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from http_client import Answer, Http
from rdev.domain.keys import SCOPES
from rdev.http.operations import OPERATIONS
from target import Target

NEEDED = {
    ("GET", "/projects"): "projects:read",
    ("POST", "/projects"): "projects:write",
    ("GET", "/projects/{project_id}"): "projects:read",
    ("DELETE", "/projects/{project_id}"): "projects:write",
    ("POST", "/projects/{project_id}/start"): "projects:write",
    ("POST", "/projects/{project_id}/stop"): "projects:write",
    ("POST", "/projects/{project_id}/shell"): "projects:execute",
    ("POST", "/projects/{project_id}/git"): "projects:execute",
    ("POST", "/projects/{project_id}/claude"): "projects:execute",
    ("GET", "/projects/{project_id}/commands"): "projects:read",
    ("GET", "/projects/{project_id}/commands/{command_id}"): "projects:read",
    ("GET", "/projects/{project_id}/commands/{command_id}/output"): "projects:read",
    ("POST", "/projects/{project_id}/commands/{command_id}/cancel"): "projects:execute",
    ("POST", "/projects/{project_id}/commands/{command_id}/input"): "projects:execute",
    ("GET", "/projects/{project_id}/events"): "projects:read",
    ("POST", "/projects/{project_id}/events/ticket"): "projects:read",
    ("GET", "/queue"): "projects:read",
    ("GET", "/keys"): "keys:admin",
    ("POST", "/keys"): "keys:admin",
    ("GET", "/keys/self"): None,
    ("GET", "/keys/{key_id}"): "keys:admin",
    ("DELETE", "/keys/{key_id}"): "keys:admin",
    ("POST", "/keys/{key_id}/rotate"): "keys:admin",
    ("GET", "/webhooks"): "webhooks:admin",
    ("POST", "/webhooks"): "webhooks:admin",
    ("GET", "/webhooks/{endpoint_id}"): "webhooks:admin",
    ("PATCH", "/webhooks/{endpoint_id}"): "webhooks:admin",
    ("DELETE", "/webhooks/{endpoint_id}"): "webhooks:admin",
    ("POST", "/webhooks/{endpoint_id}/test"): "webhooks:admin",
    ("POST", "/webhooks/{endpoint_id}/rotate"): "webhooks:admin",
    ("POST", "/webhooks/{endpoint_id}/recover"): "webhooks:admin",
    ("GET", "/webhooks/{endpoint_id}/deliveries"): "webhooks:admin",
    ("GET", "/webhooks/deliveries"): "webhooks:admin",
    ("GET", "/webhooks/deliveries/{delivery_id}"): "webhooks:admin",
    ("POST", "/webhooks/deliveries/{delivery_id}/redeliver"): "webhooks:admin",
    ("GET", "/audit"): "audit:read",
    ("GET", "/audit/verify"): "audit:read",
    ("GET", "/openapi.json"): None,
}
OPEN = {("GET", "/health"), ("GET", "/ready"), ("GET", "/metrics")}
ENDPOINTS = sorted(NEEDED)
OF_A_PROJECT = [each for each in ENDPOINTS if "{project_id}" in each[1]]


@pytest.fixture(scope="module")
def place(target: Target, api: Http) -> Iterator[dict[str, str]]:
    """What the paths' names stand for: things that are there, so that a 404 is a denial."""
    assert api.post("/projects", {"id": "matrix"}).status == 201
    command = api.finished("matrix", "true")["id"]
    yield {
        "project_id": "matrix",
        "command_id": command,
        "key_id": "key-nobody",
        "endpoint_id": "wh-nothing",
        "delivery_id": "del-nothing",
    }
    api.delete("/projects/matrix")


@pytest.fixture(scope="module")
def by_scope(target: Target) -> dict[str, Http]:
    return {scope: target.key(scope) for scope in SCOPES}


def ask(client: Http, endpoint: tuple[str, str], place: dict[str, str]) -> Answer:
    """With a body that is refused before it does anything, where one is taken."""
    method, path = endpoint
    path = path.format_map({**place, **({"project_id": "none"} if method == "DELETE" else {})})
    query = "?stream_id=cmd-none" if path.endswith("/events") else ""
    body = b'{"no such field": 1}' if method in ("POST", "PATCH") else None
    headers = {"Content-Type": "application/json"} if body else {}
    return client.request(method, path + query, body, headers)


def code(answer: Answer) -> str | None:
    return answer.error["code"] if answer.status >= 400 else None


def test_the_table_has_every_endpoint() -> None:
    known = {(each.method, each.path) for each in OPERATIONS}
    assert known - {("GET", "/")} == set(NEEDED) | OPEN


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=" ".join)
def test_each_endpoint_takes_its_scope_and_no_other(
    endpoint: tuple[str, str], by_scope: dict[str, Http], place: dict[str, str]
) -> None:
    needed = NEEDED[endpoint]
    for scope, client in by_scope.items():
        answer = ask(client, endpoint, place)
        if needed in (None, scope) or scope == "admin":
            assert answer.status not in (401, 403), (scope, answer.body)
        else:
            assert (answer.status, code(answer)) == (403, "FORBIDDEN"), scope


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=" ".join)
def test_no_endpoint_takes_a_key_that_is_not_good(
    endpoint: tuple[str, str], target: Target, place: dict[str, str], bad_keys: dict[str, Http]
) -> None:
    said = {ask(client, endpoint, place).error["message"] for client in bad_keys.values()}
    assert len(said) == 1
    for why, client in bad_keys.items():
        assert ask(client, endpoint, place).status == 401, why


@pytest.fixture(scope="module")
def bad_keys(target: Target) -> dict[str, Http]:
    revoked = target.key()
    target.admin.delete(f"/keys/{revoked.key_id}")
    soon = datetime.now(UTC) + timedelta(seconds=1)
    expired = target.key(expires_at=soon.isoformat())
    time.sleep(1.1)
    return {
        "none": target.client(),
        "malformed": target.client("rdev_x"),
        "unknown": target.client("rdev_000000000000000000000000000000000mLLBb"),
        "revoked": revoked,
        "expired": expired,
    }


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=" ".join)
def test_no_endpoint_takes_a_key_from_elsewhere(
    endpoint: tuple[str, str], elsewhere: Http, place: dict[str, str]
) -> None:
    assert ask(elsewhere, endpoint, place).status == 403


@pytest.fixture(scope="module")
def elsewhere(target: Target) -> Http:
    return target.key(allowed_ips=["192.0.2.0/24", "2001:db8::/32"])


@pytest.mark.parametrize("endpoint", OF_A_PROJECT, ids=" ".join)
def test_a_project_outside_a_keys_own_is_not_there(
    endpoint: tuple[str, str], stranger: Http, place: dict[str, str]
) -> None:
    answer = ask_well(stranger, endpoint, place)
    assert (answer.status, code(answer)) == (404, "NOT_FOUND"), answer.body


@pytest.fixture(scope="module")
def stranger(target: Target) -> Http:
    return target.key(projects=["other-*"])


def ask_well(client: Http, endpoint: tuple[str, str], place: dict[str, str]) -> Answer:
    """With a body that would be taken."""
    bodies = {
        "shell": {"command": "echo never >never"},
        "git": {"args": ["status"]},
        "claude": {"prompt": "hi"},
    }
    method, path = endpoint
    body = bodies.get(path.rpartition("/")[2], {})
    path = path.format_map(place)
    return client.post(path, body) if method == "POST" else client.request(method, path)
