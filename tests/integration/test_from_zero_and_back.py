"""The way of a command on Knative, without a cluster: every function at zero, under gunicorn as
the image serves it, started by the request or the event that needs it, ended when idle."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from fresh_database import fresh_database
from functions_alone import FunctionAlone, functions_alone
from http_client import Http, as_it_ended
from knative_player import Broker, playing_knative, tried_again
from live_stack import ENOUGH_S, processes_of, wait_for
from loopback_receiver import receiving
from rdev.domain.wakeups import COMMAND_QUEUED, DELIVERY_DUE
from rdev.platform.stores import Postgres, Valkey

pytestmark = pytest.mark.slow

LEASE_S = 1.0


class Place:
    """The functions, what plays Knative for them, and a project."""

    def __init__(
        self, functions: dict[str, FunctionAlone], broker: Broker, database_url: str, folder: Path
    ) -> None:
        self.functions = functions
        self.broker = broker
        self.database_url = database_url
        self.redis_url = functions["runner"].setting("RDEV_REDIS_URL")
        self.workspace = folder / "workspaces" / "demo"
        broker.functions = functions

    @property
    def api(self) -> Http:
        return self.functions["exec"].http

    @property
    def runner(self) -> FunctionAlone:
        return self.functions["runner"]

    def to_zero(self) -> None:
        self.broker.settle()
        ending = [each.end() for each in self.functions.values()]
        for ended in ending:
            ended()
        assert not any(function.running for function in self.functions.values())

    def ended(self, command_id: str) -> Any:
        return wait_for(lambda: (got := self.api.record("demo", command_id))["finished_at"] and got)

    def ask(self, query: str) -> Any:
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute(query).fetchone()  # type: ignore[arg-type] # a constant
            return row and row[0]


@contextmanager
def drain(place: Place) -> Iterator["subprocess.Popen[bytes]"]:
    process = place.runner.program("rdev.platform.drain")
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(ENOUGH_S)


@pytest.fixture(scope="module")
def functions_and_broker(
    postgres: Postgres, valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("knative")
    with (
        fresh_database(postgres) as url,
        playing_knative() as broker,
        functions_alone(
            url,
            valkey.url,
            folder,
            K_SINK=broker.url,
            lease_s=LEASE_S,
            renew_s=LEASE_S / 4,
            webhook_allow_cidrs="127.0.0.0/8",
            webhook_allow_http=True,
        ) as functions,
    ):
        assert functions["projects"].http.post("/projects", {"id": "demo"}).status == 201
        yield Place(functions, broker, url, folder)


@pytest.fixture
def place(functions_and_broker: Place) -> Iterator[Place]:
    """The runner is at zero, and the Broker is a good one."""
    broker = functions_and_broker.broker
    broker.settle()
    functions_and_broker.runner.to_zero()
    broker.mode, broker.copies, broker.losing = "binary", 1, False
    broker.taken.clear()
    broker.delivered.clear()
    yield functions_and_broker
    # What was delivered was taken, or is not to come again; a Broker takes a body for a failure.
    broker.settle()
    for each in broker.delivered:
        assert (each.status, each.body) == (204, b""), each


def test_from_zero_to_the_first_output_and_back_to_zero(place: Place) -> None:
    place.to_zero()
    command_id = place.api.shell("demo", "echo first; until [ -e go ]; do sleep 0.05; done")["id"]
    with place.functions["events"].http.events("demo", command_id) as reader:
        reader.read(lambda each: each.of("output"))
        assert reader.output() == b"first\n"
        (place.workspace / "go").touch()
        assert reader.read_to_end()[-1].type == "command.finished"
    assert [event["type"] for event in place.broker.taken] == [COMMAND_QUEUED]
    place.to_zero()
    assert processes_of(command_id) == []
    assert place.ask("SELECT count(*) FROM commands WHERE status IN ('queued', 'running')") == 0
    # Nothing was in a process alone: those that start now know it all.
    record = place.api.record("demo", command_id)
    assert (record["status"], record["exit_code"]) == ("succeeded", 0)
    assert place.api.output("demo", command_id) == b"first\n"
    assert not place.runner.running


def test_a_runner_that_is_ended_while_it_drains_hands_over_and_wakes_the_next(place: Place) -> None:
    command_id = place.api.shell("demo", "until [ -e over ]; do sleep 0.05; done; echo over")["id"]
    wait_for(lambda: place.api.record("demo", command_id)["status"] == "running")
    wait_for(lambda: processes_of(command_id))
    place.runner.to_zero()
    # It posted its own next wake-up: nobody killed it over its request.
    assert [event["type"] for event in place.broker.taken] == [COMMAND_QUEUED] * 2
    (place.workspace / "over").touch()
    record = place.ended(command_id)
    assert (record["status"], record["exit_code"]) == ("succeeded", 0)


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_an_event_that_comes_twice_or_late_runs_a_command_once(place: Place, mode: str) -> None:
    place.broker.mode, place.broker.copies = mode, 2
    command_id = place.api.shell("demo", f"echo ran >> {mode}; echo said")["id"]
    record = place.ended(command_id)
    place.broker.settle()
    place.runner.to_zero()
    starts = place.runner.starts
    place.broker.hand_on("runner", place.broker.taken[0])  # late: to a new process, for nothing
    place.broker.settle()
    assert place.runner.starts == starts + 1
    assert len(place.broker.delivered) == 3
    assert as_it_ended(place.api.record("demo", command_id)) == as_it_ended(record)
    assert (place.workspace / mode).read_text() == "ran\n"
    assert place.api.output("demo", command_id) == b"said\n"


def test_an_event_that_was_lost_is_made_good_by_the_schedule(place: Place) -> None:
    place.broker.losing = True
    command_id = place.api.shell("demo", "echo late")["id"]
    wait_for(lambda: place.broker.taken)
    assert not place.runner.running
    assert place.api.record("demo", command_id)["status"] == "queued"
    place.broker.ping("runner")
    assert place.ended(command_id)["status"] == "succeeded"


def test_a_schedule_that_starts_a_process_sweeps_and_works_too(place: Place) -> None:
    place.broker.losing = True
    command_id = place.api.shell("demo", "echo late")["id"]
    swept = "SELECT coalesce(max(completed_at), 'epoch') FROM sweeps"
    before = place.ask(swept)
    with drain(place) as process:
        assert process.wait(ENOUGH_S) == 0, place.runner.log.read_text()
    assert not place.runner.running
    assert place.api.record("demo", command_id)["status"] == "succeeded"
    assert place.ask(swept) > before


def test_an_empty_redis_is_no_redis_that_does_not_answer(place: Place) -> None:
    with redis.Redis.from_url(place.redis_url) as client:
        client.flushall()
    said = len(place.runner.log.read_text())
    with drain(place) as process:
        assert process.wait(ENOUGH_S) == 0
    assert "Redis does not answer" not in place.runner.log.read_text()[said:]


def test_such_a_process_that_is_to_end_hands_over_what_runs(place: Place) -> None:
    place.broker.losing = True
    waits = "until [ -e on ]; do sleep 0.05; done; echo done"
    command_id = place.api.shell("demo", waits)["id"]
    with drain(place) as process:
        wait_for(lambda: processes_of(command_id))  # `running` comes before it
        process.send_signal(signal.SIGTERM)
        assert process.wait(ENOUGH_S) == 0, place.runner.log.read_text()
    assert processes_of(command_id)
    held = "SELECT count(*) FROM commands WHERE status = 'running' AND lease_until > now()"
    assert place.ask(held) == 0
    (place.workspace / "on").touch()
    place.broker.ping("runner")
    assert place.ended(command_id)["status"] == "succeeded"
    assert place.api.output("demo", command_id) == b"done\n"


def test_a_runner_that_is_killed_costs_neither_the_command_nor_a_byte(place: Place) -> None:
    ticks = 'i=0; while [ $i -lt 20 ]; do i=$((i+1)); echo "$i" | tee -a ticks; sleep 0.1; done'
    command_id = place.api.shell("demo", ticks)["id"]
    with place.functions["events"].http.events("demo", command_id) as reader:
        reader.read(lambda each: each.of("output"))
        place.runner.kill()
        assert processes_of(command_id)
        # The Broker had no answer and tries again, too early for the lease; the schedule does not.
        while place.api.record("demo", command_id)["status"] == "running":
            place.broker.ping("runner")
            time.sleep(LEASE_S / 2)
        reader.read_to_end()
        assert reader.output() == (place.workspace / "ticks").read_bytes()
    assert place.runner.starts > 1
    expected = b"".join(b"%d\n" % number for number in range(1, 21))
    assert place.api.output("demo", command_id) == expected
    assert place.api.record("demo", command_id)["status"] == "succeeded"


def test_what_is_no_event_wakes_or_is_refused_but_never_comes_again(place: Place) -> None:
    binary = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/x", "ce-type": COMMAND_QUEUED}
    malformed: list[tuple[dict[str, str], bytes]] = [
        ({}, b""),
        ({"Content-Type": "application/cloudevents+json"}, b'{"specversion": "1.0", '),
        ({"Content-Type": "application/cloudevents+json"}, b"\xff\xfe\x00"),
        ({"Content-Type": "application/cloudevents-batch+json"}, b"[]"),
        ({**binary, "ce-specversion": "9.9"}, b"{}"),
        ({**binary, "ce-type": "dev.example.of.somebody.else"}, b"{}"),
        ({**binary, "Content-Type": "application/json"}, b"not json"),
        (binary, b"x" * 3_000_000),
    ]
    for name in ("runner", "webhooks"):
        for headers, body in malformed:
            answer = place.functions[name].http.request("POST", "/", body, headers)
            assert not tried_again(answer.status), (name, headers, answer.status)
            assert answer.status == 413 or (answer.status, answer.body) == (204, b"")
    assert place.ended(place.api.shell("demo", "true")["id"])["status"] == "succeeded"


def test_webhooks_are_delivered_from_zero_and_back(place: Place) -> None:
    place.broker.mode = "structured"
    webhooks = place.functions["webhooks"]
    with receiving() as receiver:
        made = webhooks.http.post(
            "/webhooks", {"url": receiver.url, "events": ["command.finished"]}
        )
        assert made.status == 201, made.body
        place.broker.settle()
        webhooks.to_zero()
        command_id = place.api.shell("demo", "exit 3")["id"]
        receiver.await_count(1)
        place.to_zero()
        assert DELIVERY_DUE in {event["type"] for event in place.broker.taken}
        (got,) = receiver.got
        assert got.verified(made.data["secret"])["data"]["id"] == command_id
        assert webhooks.http.delete(f"/webhooks/{made.data['id']}").status == 200
