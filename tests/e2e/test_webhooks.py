"""Webhooks through a whole stack: from an endpoint's making to signed requests at a receiver."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from http_client import Http, as_it_ended
from live_stack import Stack, running_stack, wait_for
from loopback_receiver import Got, Receiver, receiving
from target import Target


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def made(api: Http, receiver: Receiver) -> Iterator[dict[str, Any]]:
    """An endpoint that takes everything, with its secret; gone afterwards."""
    answer = api.post("/webhooks", {"url": receiver.url})
    assert answer.status == 201, answer.body
    assert answer.headers["Location"] == f"/webhooks/{answer.data['id']}"
    yield answer.data
    assert api.delete(f"/webhooks/{answer.data['id']}").status in (200, 404)


def types_of(got: list[Got], command: str) -> list[str]:
    """The types of events about this command, in the order in which they came."""
    bodies = [json.loads(each.body) for each in got]
    return [each["type"] for each in bodies if each["data"].get("id") == command]


@pytest.mark.own_stack
def test_a_commands_way_is_told_signed_and_without_its_env(
    api: Http, project: str, made: dict[str, Any], receiver: Receiver
) -> None:
    record = api.finished(project, "echo hi", env={"TOKEN": "s3cret"})
    wait_for(lambda: len(types_of(receiver.got, record["id"])) == 3)
    assert set(types_of(receiver.got, record["id"])) == {
        "command.queued",
        "command.started",
        "command.finished",
    }
    for got in receiver.got:
        told = got.verified(made["secret"])
        assert b"s3cret" not in got.body
        if told["type"] == "command.finished" and told["data"]["id"] == record["id"]:
            assert as_it_ended(told["data"]) == as_it_ended(record)


def patch(api: Http, path: str, **fields: Any) -> Any:
    return api.request(
        "PATCH", path, json.dumps(fields).encode(), {"Content-Type": "application/json"}
    )


def test_a_secret_is_shown_once_and_headers_never(
    stack: Stack, api: Http, receiver: Receiver
) -> None:
    asked = {"url": receiver.url, "headers": {"Authorization": "Bearer s3cret"}, "events": ["test"]}
    made = api.post("/webhooks", asked)
    path = f"/webhooks/{made.data['id']}"
    try:
        secret = made.data["secret"]
        tested = api.post(f"{path}/test")
        assert tested.status == 202, tested.body
        got = receiver.await_count(1)[0]
        assert got.headers["authorization"] == "Bearer s3cret"
        wait_for(lambda: api.get(tested.data["links"]["self"]).data["state"] == "succeeded")
        rotated = api.post(f"{path}/rotate", {"overlap_s": 60})
        assert rotated.data["secret"] != secret
        answers = [
            api.get(path),
            api.get("/webhooks"),
            patch(api, path, description="changed"),
            api.get(f"{path}/deliveries"),
            api.get(tested.data["links"]["self"]),
        ]
        for answer in answers:
            assert answer.status == 200, answer.body
            for word in (secret, rotated.data["secret"], "s3cret"):
                assert word.encode() not in answer.body
        assert answers[0].data["headers"] == ["authorization"]
        assert [each["expires_at"] is None for each in answers[0].data["secrets"]] == [True, False]
        logs = b"".join(log.read_bytes() for log in (stack.home / "log").iterdir())
        assert secret.encode() not in logs
        assert b"s3cret" not in logs
    finally:
        api.delete(path)


@pytest.mark.own_stack
def test_what_came_while_it_was_paused_or_disabled_is_not_lost(
    api: Http, project: str, made: dict[str, Any], receiver: Receiver
) -> None:
    path = f"/webhooks/{made['id']}"
    assert patch(api, path, paused=True).data["status"] == "paused"
    first = api.finished(project, "true")
    waiting = api.get(f"{path}/deliveries?state=pending&type=command.finished").data
    assert len(waiting) == 1
    assert patch(api, path, paused=False).data["status"] == "active"
    wait_for(lambda: len(types_of(receiver.got, first["id"])) == 3)
    assert patch(api, path, enabled=False).data["disabled_reason"] == "by_hand"
    second = api.finished(project, "true")
    refused = api.post(f"{path}/recover", {"since": first["queued_at"]})
    assert (refused.status, refused.error["code"]) == (409, "CONFLICT")
    assert patch(api, path, enabled=True).data["status"] == "active"
    recovered = api.post(f"{path}/recover", {"since": first["queued_at"]})
    assert recovered.status == 202, recovered.body
    assert recovered.data["recovered"] >= 3
    wait_for(lambda: len(types_of(receiver.got, second["id"])) == 3)


@pytest.mark.own_stack
def test_a_delivery_is_shown_with_its_attempts_and_sent_again(
    api: Http, made: dict[str, Any], receiver: Receiver
) -> None:
    delivery = api.post(f"/webhooks/{made['id']}/test").data
    own = [each for each in receiver.await_count(1) if each.id == delivery["event_id"]]
    shown = wait_for(lambda: ended(api, delivery["links"]["self"]))
    assert shown["body"]["type"] == "test"
    (attempt,) = shown["attempt_log"]
    assert (attempt["number"], attempt["trigger"], attempt["status"]) == (1, "manual", 204)
    assert attempt["address"] == "127.0.0.1"
    assert attempt["request_headers"]["webhook-signature"] == "…"
    again = api.post(delivery["links"]["redeliver"])
    assert (again.status, again.data["state"]) == (202, "pending")
    wait_for(lambda: receiver.ids().count(delivery["event_id"]) == len(own) + 1)
    listed = api.get(f"/webhooks/deliveries?endpoint={made['id']}&type=test").data
    assert [each["id"] for each in listed] == [delivery["id"]]


def ended(api: Http, path: str) -> Any:
    shown = api.get(path).data
    return shown if shown["state"] != "pending" else None


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "url"),
        ({"url": "ftp://example.com/"}, "url"),
        ({"url": "https://user:word@example.com/"}, "url"),
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": "http://[::ffff:192.168.1.1]/"}, "url"),
        ({"url": "https://example.com/", "events": ["command.finishd"]}, "events"),
        ({"url": "https://example.com/", "events": []}, "events"),
        ({"url": "https://example.com/", "projects": ["Demo"]}, "projects.0"),
        ({"url": "https://example.com/", "secret": "short"}, "secret"),
        ({"url": "https://example.com/", "headers": {"webhook-id": "x"}}, "headers"),
        ({"url": "https://example.com/", "headers": {"Host": "x"}}, "headers"),
        ({"url": "https://example.com/", "headers": {"x": "a\r\nb: c"}}, "headers"),
        ({"url": "https://example.com/", "max_concurrent": 0}, "max_concurrent"),
        ({"url": "https://example.com/", "colour": "red"}, "colour"),
    ],
)
def test_an_endpoint_that_cannot_work_is_refused(api: Http, asked: Any, field: str) -> None:
    answer = api.post("/webhooks", asked)
    assert (answer.status, answer.error["code"]) == (400, "BAD_REQUEST"), answer.body
    assert [each["field"] for each in answer.error["details"]] == [field]


def test_webhooks_need_their_scope(target: Target) -> None:
    by = target.key("projects:read")
    for path in ("/webhooks", "/webhooks/deliveries", "/webhooks/wh-1/deliveries"):
        assert by.get(path).status == 403
    assert by.post("/webhooks", {"url": "https://example.com/"}).status == 403
    allowed = target.key("webhooks:admin")
    for path in ("/webhooks/wh-1", "/webhooks/deliveries/del-1", "/webhooks/wh-1/deliveries"):
        assert allowed.get(path).status == 404


def test_nobody_outside_can_wake_the_senders(target: Target) -> None:
    for headers in ({}, {"ce_type": "dev.rdev.delivery.due.v1", "ce_specversion": "1.0"}):
        for path in ("/", "//", "/webhooks/", "/webhooks//"):
            answer = target.client().post(path, **headers)
            assert answer.status in (401, 404, 405), (path, answer.body)


@pytest.mark.own_stack
def test_delivery_begins_when_something_happens_not_at_the_next_sweep() -> None:
    """With sweeps ten minutes apart, from the process of the API and from the runner's."""
    with receiving() as receiver, running_stack(sweep_s=600) as stack:
        made = stack.admin.post("/webhooks", {"url": receiver.url})
        assert made.status == 201
        api = stack.key("admin")
        wait_for(lambda: any(b"key.created" in each.body for each in receiver.got))
        record = api.finished("demo", "true")
        wait_for(lambda: len(types_of(receiver.got, record["id"])) == 3)


def test_the_command_line_covers_an_endpoints_life(stack: Stack, receiver: Receiver) -> None:
    def rdev(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "rdev.cli.main", "webhooks", *words],
            env={"PATH": os.environ["PATH"], "RDEV_HOME": str(stack.home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    made = json.loads(rdev("create", receiver.url, "-e", "test", "--json"))
    webhook = made["id"]
    assert webhook in rdev("list")
    delivery = rdev("test", webhook).strip()
    receiver.await_count(1)[0].verified(made["secret"])
    wait_for(lambda: "succeeded" in rdev("deliveries", webhook))
    assert rdev("deliveries", webhook).startswith(delivery)
    rdev("redeliver", delivery)
    assert len({each.id for each in receiver.await_count(2)}) == 1
    assert json.loads(rdev("update", webhook, "--pause"))["status"] == "paused"
    assert json.loads(rdev("update", webhook, "--resume"))["status"] == "active"
    assert rdev("rotate", webhook, "--overlap", "60").startswith("whsec_")
    assert rdev("recover", webhook, "--since", made["created_at"]) == "0\n"
    rdev("delete", webhook)
    assert webhook not in rdev("list")
