"""One scrape of a running stack: what was done in it, counted right, and nothing about anybody."""

import re
import secrets
import time

import pytest

import promtool
from http_client import Http
from live_stack import Stack, wait_for
from loopback_receiver import receiving
from rdev.config import SOURCE_ROOT
from rdev.http.envelope import STATUS
from scraping import Scrape, documented, scrape

PROCESSES = {"functions-0", "runner-0", "triggers-0"}
# What a label may say. Routes and reasons are looked up; versions are numbers.
VALUES = {
    "process": PROCESSES,
    "function": {
        "keys",
        "projects",
        "exec",
        "events",
        "webhooks",
        "audit",
        "system",
        "runner",
        "none",
    },
    "method": {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"},
    "status": {
        *map(str, STATUS.values()),
        *map(str, (200, 201, 202, 204, 206, 304, 416, 431)),
        *("waiting", "running", "succeeded", "failed", "cancelled", "timed_out", "lost"),
    },
    "decision": {"allowed", "refused"},
    "cache": {"keys", "archive"},
    "priority": {"high", "normal", "low"},
    "kind": {"shell", "git", "claude"},
    "stream": {"stdout", "stderr"},
    "result": {"hit", "miss", "done", "failed", "sent", "started", "refused", "unavailable"},
    "type": {"dev.rdev.sweep.v1"},
    "meant": {"running", "stopped"},
    "why": {"not_ready", "unavailable"},
    "of": {"command", "project"},
    "outcome": {"succeeded", "failed", "throttled", "gone", "ours"},
    "state": {
        *("used", "idle", "active", "blocked", "paused", "disabled"),
        *("succeeded", "exhausted"),
    },
    "when": {"due", "later", "held"},
    "pool": {"calls", "blocking", "gate"},
    "breaker": {"gate", "archive"},
    "operation": {"store", "load", "list", "remove", "ping", "try"},
}
MOST_SERIES = 3000


def be_busy(api: Http, project: str) -> None:
    """Something of everything, and what callers invent."""
    assert api.finished(project, "echo out; echo err >&2")["status"] == "succeeded"
    assert api.finished(project, "exit 3")["status"] == "failed"
    waiting = api.shell(project, "sleep 60")["id"]
    with api.events(project, waiting) as reader:
        reader.read(lambda each: each.of("command.started"))
        assert api.post(f"/projects/{project}/commands/{waiting}/cancel").status == 202
        reader.read_to_end()
    for number in range(30):
        api.get(f"/nowhere/{number}/{secrets.token_hex(4)}")
        api.get(f"/projects/{secrets.token_hex(4)}/commands/cmd-{number}")
        Http(api.port, f"rdev_{secrets.token_hex(20)}").get("/projects")
    for method in ("BREW", "PROPFIND"):
        api.request(method, f"/projects/{project}")
        api.request(method, "/no%01where")


@pytest.fixture
def done(stack: Stack, api: Http, project: str) -> tuple[Scrape, Scrape, str]:
    before = scrape(stack)
    with receiving() as receiver:
        made = api.post("/webhooks", {"url": receiver.url, "projects": [project]})
        be_busy(api, project)
        # queued, started and finished, of each of three
        receiver.await_count(9)
        ended = 'rdev_webhook_deliveries_total{process="runner-0",state="succeeded"}'

        def told() -> bool:
            found = re.search(rf"^{re.escape(ended)} (\S+)$", scrape(stack).text, re.M)
            earlier = before.total("rdev_webhook_deliveries_total", state="succeeded")
            return found is not None and float(found[1]) >= earlier + 9

        wait_for(told)
        assert api.delete(f"/webhooks/{made.data['id']}").status == 200
    return before, scrape(stack), project


def test_a_busy_run_is_counted_and_labels_name_nobody(
    stack: Stack, done: tuple[Scrape, Scrape, str]
) -> None:
    before, after, project = done

    def grew(name: str, **labels: str) -> float:
        return after.total(name, **labels) - before.total(name, **labels)

    # Other tests of this worker are over; what is left of their commands may still end.
    for status, reason in (("succeeded", "none"), ("failed", "exit_code"), ("cancelled", "none")):
        ended = grew("rdev_commands_finished_total", kind="shell", status=status, reason=reason)
        assert ended >= 1, status
    assert grew("rdev_queue_claims_total", priority="normal") >= 3
    assert grew("rdev_queue_wait_seconds_count", priority="normal") >= 3
    assert grew("rdev_command_first_output_seconds_count", kind="shell") >= 1
    assert grew("rdev_command_output_bytes_total", stream="stdout") >= 4
    assert grew("rdev_command_output_bytes_total", stream="stderr") >= 4
    assert grew("rdev_workspace_command_start_seconds_count", result="started") >= 3
    assert grew("rdev_stream_sent_bytes_total", of="command") > 100
    assert grew("rdev_webhook_attempts_total", outcome="succeeded") >= 9
    route = "/projects/{project_id}/shell"
    assert grew("rdev_http_requests_total", route=route, method="POST", status="202") >= 1
    assert grew("rdev_http_request_duration_seconds_count", route=route, function="exec") >= 1
    assert grew("rdev_http_requests_total", route="none", status="404") >= 30
    assert grew("rdev_http_requests_total", status="401") >= 30
    assert grew("rdev_limiter_decisions_total", decision="allowed") >= 30
    assert grew("rdev_cache_lookups_total", cache="keys", result="hit") >= 30
    assert after.total("rdev_runner_slots") == 16
    assert after.total("rdev_projects", meant="running") >= 1
    assert after.total("rdev_process_up") == len(PROCESSES)

    allowed = VALUES | {
        "route": {"none", *_routes()},
        "reason": {"none", "trimmed", "expired", "lost", *_reasons()},
    }
    told = after.values()
    for label in ("le", "version", "python"):
        assert all(re.fullmatch(r"[\d.]+|\+Inf", value) for value in told.pop(label))
    for label, values in told.items():
        assert values <= allowed[label], label
    assert project not in after.text
    assert sum(len(family.samples) for family in after.families) < MOST_SERIES


def test_what_goes_on_now_is_told_while_it_does_and_no_longer(
    stack: Stack, api: Http, project: str
) -> None:
    def told(name: str, **labels: str) -> float:
        return scrape(stack).total(name, **labels)

    running = api.shell(project, "echo on; sleep 600")["id"]
    with api.events(project, running) as reader:
        reader.read(lambda each: each.of("output"))
        # Of tests before this one there may be some that nobody has missed yet.
        assert told("rdev_stream_subscribers", of="command") >= 1
        assert told("rdev_runner_commands", process="runner-0") >= 1
        wait_for(lambda: told("rdev_queue_commands", priority="normal", status="running") >= 1)
        now = scrape(stack)
        for process in ("functions-0", "runner-0"):
            limit = now.total("rdev_postgres_pool_limit", process=process)
            assert 1 <= now.total("rdev_postgres_pool_connections", process=process) <= limit
            assert now.total("rdev_redis_pool_connections", process=process, pool="calls") >= 1
        assert now.total("rdev_postgres_pool_waiting") >= 0
        assert api.post(f"/projects/{project}/commands/{running}/cancel").status == 202
        reader.read_to_end()
    wait_for(lambda: told("rdev_stream_subscribers", of="command") == 0)
    wait_for(lambda: told("rdev_sweeps_total", result="done", process="runner-0") >= 1)
    wait_for(lambda: abs(told("rdev_sweep_last_done_timestamp_seconds") - time.time()) < 600)
    stored = {"operation": "store", "result": "done", "process": "runner-0"}
    wait_for(lambda: told("rdev_archive_operation_seconds_count", **stored) >= 1)
    assert told("rdev_archive_transferred_bytes_total", operation="store") > 0
    wait_for(lambda: told("rdev_archive_backlog") == 0)


def test_what_a_stack_exports_is_documented_and_has_no_lint(stack: Stack) -> None:
    found = scrape(stack)
    promtool.check_metrics(found.text)
    kinds = {
        f"{family.name}_total" if family.type == "counter" else family.name: family.type
        for family in found.families
        if family.name.startswith("rdev_")
    }
    assert kinds.items() <= {name: kind for name, kind, _ in documented()}.items()
    assert found.values()["process"] == PROCESSES


def test_every_process_sends_its_metrics_to_the_collector(stack: Stack, api: Http) -> None:
    collector = stack.collector
    assert collector is not None

    def senders() -> dict[str, set[str]]:
        return {name.partition(":")[2]: names for name, names in collector.metrics.items()}

    wait_for(lambda: set(senders()) >= PROCESSES)
    wait_for(lambda: {"rdev.http.requests", "rdev.queue.commands"} <= senders()["functions-0"])
    assert {"rdev.runner.slots", "rdev.build.info"} <= senders()["runner-0"]


def _routes() -> set[str]:
    text = (SOURCE_ROOT / "docs/api/README.md").read_text()
    listed = re.findall(r"^\| (?:GET|POST|PATCH|PUT|DELETE) \| `([^`]+)` \|", text, re.M)
    names = {"keys": "key_id", "webhooks": "endpoint_id", "projects": "project_id"}
    found = set()
    for path in listed:
        shown = path.replace("{cmd}", "{command_id}").replace("{delivery}", "{delivery_id}")
        for noun, name in names.items():
            if path.startswith(f"/{noun}/"):
                shown = shown.replace("{id}", f"{{{name}}}")
        found |= {shown, f"{shown}/"}
    return found | {"/"}


def _reasons() -> set[str]:
    text = (SOURCE_ROOT / "docs/api/errors.md").read_text()
    return set(re.findall(r"^\| `(\w+)` \| \w+ \|", text, re.M))
