"""Rate limits, addresses and rotation as a caller meets them."""

import time

import pytest

from http_client import Http
from live_stack import running_stack, wait_for
from target import Target


def test_an_answer_says_what_is_left_and_the_limit_holds(target: Target) -> None:
    client = target.key("projects:read", rate_limit=3)
    answers = [client.get("/projects") for _ in range(5)]
    statuses = [answer.status for answer in answers]
    assert statuses[:3] == [200] * 3
    assert 429 in statuses
    first, refused = answers[0], answers[statuses.index(429)]
    assert first.headers["X-RateLimit-Limit"] == "3"
    assert first.headers["X-RateLimit-Remaining"] == "2"
    assert abs(int(first.headers["X-RateLimit-Reset"]) - time.time()) <= 5
    assert first.headers["RateLimit-Policy"] == '"default";q=3;w=1'
    assert first.headers["RateLimit"].startswith('"default";r=2;t=')
    assert refused.error["code"] == "TOO_MANY_REQUESTS"
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert 1 <= int(refused.headers["Retry-After"]) <= 2
    time.sleep(int(refused.headers["Retry-After"]))
    assert client.get("/projects").status == 200


def test_errors_of_a_good_key_say_what_is_left_too(target: Target) -> None:
    client = target.key("projects:read")
    for answer in (client.get("/projects/none"), client.get("/keys"), client.post("/projects")):
        assert answer.status >= 400
        assert "X-RateLimit-Remaining" in answer.headers
    assert "X-RateLimit-Remaining" not in target.client("rdev_x").get("/projects").headers


def test_streams_and_downloads_say_what_is_left_too(target: Target, api: Http) -> None:
    command = api.finished("demo", "echo hi")["id"]
    client = target.key("projects:read")
    with client.events("demo", command) as reader:
        assert reader.status == 200
        head = str(reader.head).lower()
    output = client.get(f"/projects/demo/commands/{command}/output")
    for name in ("X-RateLimit-Remaining", "X-Request-ID", "X-Content-Type-Options"):
        assert name in output.headers
        assert name.lower() in head, "names of headers have no case"


def test_the_limits_of_one_key_are_not_those_of_another(target: Target) -> None:
    greedy, modest = (target.key("projects:read", rate_limit=1) for _ in range(2))
    assert [greedy.get("/projects").status for _ in range(2)] == [200, 429]
    assert modest.get("/projects").status == 200


def test_a_key_bound_to_addresses_works_from_them_alone(target: Target) -> None:
    here = target.key("projects:read", allowed_ips=["127.0.0.0/8", "::1"])
    assert here.get("/projects").status == 200
    elsewhere = target.key("projects:read", allowed_ips=["192.0.2.0/24"])
    refused = elsewhere.get("/projects")
    assert (refused.status, refused.error["code"]) == (403, "FORBIDDEN")
    # Nobody is trusted to say otherwise.
    assert elsewhere.get("/projects", X_Forwarded_For="192.0.2.1").status == 403


@pytest.mark.own_stack
@pytest.mark.slow
def test_a_trusted_proxy_says_where_a_caller_is() -> None:
    with running_stack(trusted_proxies="127.0.0.0/8, 10.0.0.0/8") as stack:
        bound = stack.key("projects:read", allowed_ips=["192.0.2.0/24"])
        for forwarded, status in (
            ("192.0.2.1", 200),
            ("198.51.100.1, 192.0.2.1, 10.1.1.1", 200),
            ("192.0.2.1, 198.51.100.1", 403),
            ("192.0.2.1, nonsense", 403),
        ):
            assert bound.get("/projects", X_Forwarded_For=forwarded).status == status
        last_ip = lambda: stack.admin.get(f"/keys/{bound.key_id}").data["last_used_ip"]  # noqa: E731
        assert wait_for(last_ip) == "192.0.2.1"


@pytest.mark.parametrize("cidr", ["10.0.0.1/8", "somewhere", "::ffff:10.0.0.0/104", ""])
def test_what_is_no_address_is_refused_by_its_field(target: Target, cidr: str) -> None:
    body = {"name": "n", "scopes": ["projects:read"], "allowed_ips": ["10.0.0.0/8", cidr]}
    refused = target.admin.post("/keys", body)
    assert refused.status == 400
    assert [each["field"] for each in refused.error["details"]] == ["allowed_ips.1"]


def test_both_secrets_are_good_until_the_overlap_is_over(target: Target) -> None:
    client = target.key("projects:read")
    rotated = target.admin.post(f"/keys/{client.key_id}/rotate", {"overlap_s": 2})
    assert rotated.status == 200
    assert rotated.data["id"] == client.key_id
    assert rotated.data["previous_secret_expires_at"] is not None
    renewed = target.client(rotated.data["key"])
    assert (client.get("/projects").status, renewed.get("/projects").status) == (200, 200)
    wait_for(lambda: client.get("/projects").status == 401, timeout_s=20)
    assert renewed.get("/projects").status == 200
    assert rotated.data["key"].encode() not in target.admin.get(f"/keys/{client.key_id}").body


def test_when_and_from_where_a_key_was_used_follows_within_seconds(target: Target) -> None:
    client = target.key("projects:read")
    client.get("/projects")
    seen = lambda: target.admin.get(f"/keys/{client.key_id}").data  # noqa: E731
    wait_for(lambda: seen()["last_used_at"] is not None)
    assert seen()["last_used_ip"] == "127.0.0.1"
