"""Output that Redis has forgotten, over HTTP: nobody can tell the difference, until it is gone."""

import json
from collections.abc import Iterator

import pytest
import redis

from http_client import Http
from live_stack import Stack, running_stack, wait_for

pytestmark = pytest.mark.own_stack

PROJECT = "archived"
LINES = 1_000_000
EXPECTED = "".join(f"{n}\n" for n in range(1, LINES + 1)).encode()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """One whose Redis forgets a second after the end."""
    with running_stack(stream_keep_s=1) as running:
        assert running.admin.post("/projects", {"id": PROJECT}).status == 201
        yield running


@pytest.fixture(scope="module")
def api(stack: Stack) -> Http:
    return stack.key("admin")


@pytest.fixture(scope="module")
def large(stack: Stack, api: Http) -> str:
    record = api.finished(PROJECT, f"seq 1 {LINES}; echo end >&2")
    return until_forgotten(stack, record["id"])


def until_forgotten(stack: Stack, command_id: str) -> str:
    """Until it is in the archive alone."""
    with redis.Redis(unix_socket_path=str(stack.home / "run" / "valkey.sock")) as store:
        wait_for(lambda: not store.exists(f"rdev:{{{PROJECT}}}:{command_id}"))
    wait_for(lambda: command_id not in stack.commands_left(PROJECT))
    return command_id


def output(api: Http, command_id: str, query: str = "", **headers: str):
    return api.get(f"/projects/{PROJECT}/commands/{command_id}/output{query}", **headers)


def test_it_is_downloaded_whole_and_by_ranges(api: Http, large: str) -> None:
    whole = output(api, large, "?stream=stdout")
    assert (whole.status, whole.body) == (200, EXPECTED)
    part = output(api, large, "?stream=stdout", range="bytes=5000000-5000099")
    assert (part.status, part.body) == (206, EXPECTED[5_000_000:5_000_100])
    tail = output(api, large, "?stream=stderr", range="bytes=-3")
    assert (tail.status, tail.body) == (206, b"nd\n")
    beyond = output(api, large, "?stream=stdout", range=f"bytes={len(EXPECTED)}-")
    assert beyond.status == 416


def test_its_lines_and_its_events_come_as_ever(api: Http, large: str) -> None:
    lines = output(api, large, accept="application/x-ndjson").body.splitlines()
    bodies = [json.loads(line) for line in lines]
    text = "".join(body["data"] for body in bodies if body["stream"] == "stdout")
    assert text.encode() == EXPECTED
    with api.events(PROJECT, large) as reader:
        events = reader.read()
    assert [events[0].type, events[1].type] == ["command.queued", "command.started"]
    assert events[-1].type == "command.finished"
    assert "gap" not in {event.type for event in events}
    middle = events[len(events) // 2]
    with api.events(PROJECT, large, last_id=middle.id) as reader:
        assert [e.id for e in reader.read()] == [e.id for e in events[len(events) // 2 + 1 :]]


def test_what_is_gone_everywhere_is_410_and_a_gap(stack: Stack, api: Http) -> None:
    command_id = until_forgotten(stack, api.finished(PROJECT, "echo hello")["id"])
    for stored in (stack.home / "archive" / PROJECT / command_id).iterdir():
        stored.unlink()
    for headers in ({}, {"range": "bytes=1-2"}, {"accept": "application/x-ndjson"}):
        answer = output(api, command_id, **headers)
        assert (answer.status, answer.error["code"]) == (410, "GONE")
    with api.events(PROJECT, command_id) as reader:
        assert [event.type for event in reader.read()] == ["gap", "command.finished"]
    assert api.get(f"/projects/{PROJECT}/commands/{command_id}").data["status"] == "succeeded"
