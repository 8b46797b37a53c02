"""One command's trace: from its caller through the whole stack to a webhook's receiver."""

import importlib
import json
import pkgutil
import re
import secrets
from pathlib import Path

import pytest
from opentelemetry.semconv import attributes
from opentelemetry.semconv._incubating import attributes as _incubating_attributes

from http_client import Http
from live_stack import Stack, wait_for
from loopback_receiver import receiving
from otlp_collector import Span

pytestmark = pytest.mark.own_stack

CALLER = "00f067aa0ba902b7"
STORE = "a call of Postgres or Redis"
EVENT = ("POST", ())
# Spans of stores are many, and how many is their own affair.
TREE = (
    "POST /projects/{project_id}/shell",
    (
        (STORE, ()),
        (
            "send commands.normal",
            (
                EVENT,  # of command.queued
                (STORE, ()),
                ("archive", ((STORE, ()),)),
                (
                    "process commands.normal",
                    (
                        EVENT,  # of command.finished
                        (STORE, ()),
                        ("workspace end", ()),
                        ("workspace follow", (EVENT,)),  # of command.started
                        ("workspace start", ()),
                    ),
                ),
            ),
        ),
    ),
)


def test_one_trace_holds_a_commands_whole_way(stack: Stack, api: Http, project: str) -> None:
    trace_id = secrets.token_hex(16)
    collector = stack.collector
    assert collector is not None
    with receiving() as receiver:
        made = api.post("/webhooks", {"url": f"{receiver.url}/h-secret-path-of-a-webhook"})
        answer = api.post(
            f"/projects/{project}/shell",
            # Long enough for its start to be recorded by itself: else it is with its end.
            {
                "command": "echo a-secret-in-a-command-line; sleep 2",
                "env": {"T": "a-secret-in-its-env"},
            },
            traceparent=f"00-{trace_id}-{CALLER}-01",
        )
        command_id = answer.data["id"]
        wait_for(lambda: len(_of(receiver.got, command_id)) == 3)
        wait_for(lambda: {"archive", "POST"} <= {span.name for span in collector.spans(trace_id)})
        wait_for(lambda: len([s for s in collector.spans(trace_id) if s.name == "POST"]) == 3)
        told = _of(receiver.got, command_id)
        assert api.delete(f"/webhooks/{made.data['id']}").status == 200
    spans = collector.spans(trace_id)
    by_id = {span.id: span for span in spans}

    def one(name: str) -> Span:
        (found,) = [span for span in spans if span.name == name]
        return found

    request = one("POST /projects/{project_id}/shell")
    assert (request.kind, request.parent) == ("server", CALLER)
    assert request.attributes["http.response.status_code"] == 202
    send = one("send commands.normal")
    assert (send.kind, send.parent) == ("producer", request.id)
    process = one("process commands.normal")
    assert (process.kind, process.parent, process.links) == ("consumer", send.id, (send.id,))
    assert process.attributes["messaging.message.id"] == command_id
    assert process.attributes["rdev.status"] == "succeeded"
    for name in ("workspace start", "workspace follow", "workspace end"):
        assert one(name).parent == process.id
    assert one("archive").parent == send.id
    for name, around in (("CommandRows.insert", send), ("LeaseRows.finish", process)):
        statements = [span for span in spans if span.name == name]
        transactions = {span.parent for span in statements}
        assert {by_id[transaction].parent for transaction in transactions} == {around.id}
    # Nothing is missing, and nothing is there twice or in another place.
    assert _tree(spans, request) == TREE
    assert (request.service, process.service) == ("rdev-functions", "rdev-runner")
    stores = {span.attributes.get("db.system.name") for span in spans if span.kind == "client"}
    assert stores >= {"postgresql", "redis"}
    attempts = {span.id for span in spans if span.name == "POST" and span.kind == "client"}
    assert {got.headers["traceparent"] for got in told} == {
        f"00-{trace_id}-{attempt}-01" for attempt in attempts
    }
    assert all(span.parent in by_id for span in spans if span is not request)
    failed = {span.attributes["error.type"] for span in spans if span.failed}
    assert failed <= {"NoScriptError"}, failed  # the first use of a script, which is then loaded
    assert _invented(spans) == set()
    insert = next(span for span in spans if span.name == "CommandRows.insert")
    assert insert.attributes["code.function.name"] == "CommandRows.insert"
    assert insert.attributes["db.namespace"] == "rdev"
    started = one("workspace start")
    assert (started.kind, started.attributes["rpc.method"]) == ("client", "workspace/start")
    sent = collector.everything()
    assert command_id.encode() in sent
    for secret in (b"a-secret-in-", b"h-secret-path", (api.secret or "").encode()):
        assert secret not in sent


def _invented(spans: list[Span]) -> set[str]:
    """Names of attributes that are neither the conventions' nor rdev's own."""
    used = {name for span in spans for name in span.attributes}
    return {name for name in used if not name.startswith("rdev.")} - CONVENTIONS


def _conventions() -> set[str]:
    """Every attribute that the conventions know, and do not call deprecated."""
    found: set[str] = set()
    for package in (attributes, _incubating_attributes):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            text = Path(importlib.import_module(module.name).__file__ or "").read_text()
            for name, about in re.findall(
                r'^\w+: Final = "([^"]+)"\n"""\n(.*?)"""', text, re.M | re.S
            ):
                if "Deprecated" not in about:
                    found.add(name)
    return found


CONVENTIONS = _conventions()


def _of(got: list, command_id: str) -> list:
    return [each for each in got if json.loads(each.body)["data"].get("id") == command_id]


def _tree(spans: list[Span], top: Span) -> tuple[str, tuple]:
    """(name, what is below it, sorted). Calls of stores stand there once, whatever is in them."""
    below = [_tree(spans, span) for span in spans if span.parent == top.id]
    assert all(inner in ((), ((STORE, ()),)) for name, inner in below if name == STORE)
    calls = {(STORE, ()) for name, _ in below if name == STORE}
    name = STORE if "db.system.name" in top.attributes else top.name
    return name, tuple(sorted([*calls, *(each for each in below if each[0] != STORE)]))
