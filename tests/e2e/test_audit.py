"""The audit log of a running stack: what is in it, who sees it, and that altering it is found."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from free_port import free_port
from http_client import Answer, Http
from live_stack import ENOUGH_S, Stack, running_stack, wait_for
from rdev.client import ChainHead, Client
from rdev.platform import layout
from rdev.platform.parts import Stores
from target import Target

JSON = "application/json"
NDJSON = "application/x-ndjson"


def log(client: Http, **filters: Any) -> list[dict[str, Any]]:
    """All rows that pass the filters, newest first, page by page."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        query = "&".join(f"{name}={value}" for name, value in filters.items())
        page = client.get(f"/audit?{query}{cursor}")
        assert page.status == 200, page.body
        found += page.data
        if not page.json["meta"]["next_cursor"]:
            return found
        cursor = f"&cursor={page.json['meta']['next_cursor']}"


class Asker:
    """Requests whose ids it knows, to find their rows by."""

    def __init__(self, http: Http) -> None:
        self.http = http
        self.asked: dict[str, str] = {}

    def __call__(self, method: str, path: str, fields: Any = None, status: int = 200) -> Answer:
        request_id = f"audited-{uuid4().hex}"
        body = json.dumps(fields).encode() if fields is not None else None
        headers = {"Content-Type": JSON, "X-Request-ID": request_id}
        answer = self.http.request(method, path, body, headers)
        assert answer.status == status, answer.body
        self.asked[request_id] = f"{method} {path}"
        return answer


@pytest.fixture(scope="module")
def everything(target: Target) -> Asker:
    """Each change of state that the API has, made once."""
    ask = Asker(target.key("admin", name="changer"))
    key = ask("POST", "/keys", {"name": "k", "scopes": ["projects:read"]}, 201).data["id"]
    ask("POST", f"/keys/{key}/rotate", {})
    ask("DELETE", f"/keys/{key}")
    ask("POST", "/projects", {"id": "audited"}, 201)
    shell = {"command": "cat", "stdin_open": True}
    command = ask("POST", "/projects/audited/shell", shell, 202).data["id"]
    place = f"/projects/audited/commands/{command}"
    wait_for(lambda: ask.http.get(place).data["started_at"])  # running: its runner has it
    ask("POST", f"{place}/cancel", {}, 202)
    wait_for(lambda: ask.http.get(place).data["finished_at"])
    ask("DELETE", "/projects/audited")
    hook = ask("POST", "/webhooks", {"url": f"http://127.0.0.1:{free_port()}/hook"}, 201).data["id"]
    ask("PATCH", f"/webhooks/{hook}", {"description": "another"})
    ask("POST", f"/webhooks/{hook}/rotate", {})
    test = ask("POST", f"/webhooks/{hook}/test", {}, 202).data["id"]
    ask("POST", f"/webhooks/deliveries/{test}/redeliver", {}, 202)
    ask("DELETE", f"/webhooks/{hook}")
    return ask


def test_every_change_has_its_row_with_key_address_and_request(
    everything: Asker, api: Http
) -> None:
    rows = {row["request_id"]: row for row in log(api, key=everything.http.key_id)}
    for request_id, asked in everything.asked.items():
        assert request_id in rows, asked
        row = rows[request_id]
        assert (row["key_id"], row["key_name"]) == (everything.http.key_id, "changer"), asked
        assert row["address"] == "127.0.0.1", asked
        assert "." in row["action"], asked


def test_a_commands_rows_tell_it_from_its_queueing_to_its_end(everything: Asker, api: Http) -> None:
    (queued,) = log(api, project="audited", action="command.queued")
    rows = log(api, subject=queued["subject"])
    told = [row["action"].removeprefix("command.") for row in reversed(rows)]
    assert (told[0], told[-1]) == ("queued", "finished")
    assert {"started", "cancel_requested"} <= set(told)
    assert rows[0]["outcome"] == "cancelled"


def test_rows_come_newest_first_and_pages_leave_nothing_out(everything: Asker, api: Http) -> None:
    mine = {"key": everything.http.key_id}
    whole, cut = log(api, **mine), log(api, limit=2, **mine)
    assert whole == cut
    seqs = [row["seq"] for row in whole]
    assert seqs == sorted(seqs, reverse=True)
    assert len(set(seqs)) == len(seqs) > 4


def test_filters_leave_out_what_they_say(everything: Asker, api: Http) -> None:
    mine = {"key": everything.http.key_id}
    rows = log(api, **mine)
    some = rows[len(rows) // 2]
    cases: list[tuple[dict[str, str], Callable[[dict[str, Any]], bool]]] = [
        ({"action": "command.*"}, lambda row: row["action"].startswith("command.")),
        ({"action": "key.revoked"}, lambda row: row["action"] == "key.revoked"),
        ({"project": "audited"}, lambda row: row["project"] == "audited"),
        ({"subject": some["subject"]}, lambda row: row["subject"] == some["subject"]),
        ({"address": "127.0.0.1"}, lambda row: row["address"] == "127.0.0.1"),
        ({"address": "192.0.2.1"}, lambda row: False),
        ({"outcome": "cancelled"}, lambda row: row["outcome"] == "cancelled"),
    ]
    for given, keeps in cases:
        assert log(api, **mine, **given) == [row for row in rows if keeps(row)], given
    later = log(api, **mine, since=some["at"])
    earlier = log(api, **mine, until=some["at"])
    assert sorted(row["seq"] for row in later + earlier) == sorted(row["seq"] for row in rows)
    assert some in later


@pytest.mark.parametrize(
    "query",
    [
        "cursor=x",
        "action=a;b",
        "address=nowhere",
        "limit=0",
        "since=yesterday",
        "color=red",
        "project=%00",
        "verify?position=1",
        "verify?hash=" + "0" * 64,
        "verify?position=1&hash=xyz",
    ],
)
def test_a_question_that_makes_no_sense_is_refused(api: Http, query: str) -> None:
    path = f"/audit/{query}" if "?" in query else f"/audit?{query}"
    assert (api.get(path).status, api.get(path).error["code"]) == (400, "BAD_REQUEST")


def test_the_export_has_the_same_rows_a_line_each(everything: Asker, api: Http) -> None:
    path = f"/audit?key={everything.http.key_id}&limit=1"
    answer = api.get(path, Accept=NDJSON)
    assert answer.headers["Content-Type"].startswith(NDJSON)
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert [row["seq"] for row in lines] == [
        row["seq"] for row in log(api, key=everything.http.key_id)
    ]


def test_a_bound_key_sees_the_rows_of_its_projects_alone(
    everything: Asker, target: Target, api: Http
) -> None:
    bound = target.key("audit:read", projects=["audit*"])
    elsewhere = target.key("audit:read", projects=["nothing"])
    seen = log(bound)
    assert seen
    assert {row["project"] for row in seen} == {"audited"}
    assert log(elsewhere) == []
    assert log(elsewhere, project="audited") == []
    assert elsewhere.get("/audit", Accept=NDJSON).body == b""
    refused = bound.get("/audit/verify")
    assert (refused.status, refused.error["code"]) == (403, "FORBIDDEN")


def test_denials_are_in_the_log(target: Target, api: Http) -> None:
    """Each by a key of its own: the log tells denials of one key apart by their code alone."""
    bound = target.key("projects:read", projects=["mine"])
    revoked = target.key("projects:read")
    api.delete(f"/keys/{revoked.key_id}")
    elsewhere = target.key(allowed_ips=["192.0.2.0/24"])
    slow = target.key("projects:read", rate_limit=1)
    tried = {
        (bound.key_id, "NOT_FOUND"): lambda: bound.get("/projects/secret/commands"),
        (bound.key_id, "FORBIDDEN"): lambda: bound.get("/keys"),
        (revoked.key_id, "UNAUTHORIZED"): lambda: revoked.get("/projects"),
        (elsewhere.key_id, "FORBIDDEN"): lambda: elsewhere.get("/projects"),
        (slow.key_id, "TOO_MANY_REQUESTS"): lambda: [slow.get("/projects") for _ in range(20)],
    }
    for (key_id, code), attempt in tried.items():
        attempt()
        (row,) = log(api, action="denied", key=key_id, outcome=code)
        assert (row["address"], row["details"]["count"]) == ("127.0.0.1", 1)
    (hidden,) = log(api, action="denied", key=bound.key_id, outcome="NOT_FOUND")
    assert hidden["details"]["route"] == "/projects/<project_id>/commands"


def test_what_is_only_not_there_is_no_denial(target: Target, api: Http) -> None:
    client = target.key()
    for path in ("/projects/nothing", "/keys/key-nobody", "/nowhere"):
        assert client.get(path).status == 404
    assert log(api, action="denied", key=client.key_id) == []


def rdev(stack: Stack, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "rdev.cli.main", "audit", *words],
        env={**os.environ, "HOME": str(stack.home), "RDEV_HOME": str(stack.home)},
        capture_output=True,
        text=True,
        timeout=ENOUGH_S,
        check=False,
    )


@pytest.fixture(scope="module")
def alone() -> Iterator[Stack]:
    """A stack whose log is altered in the end."""
    with running_stack() as running:
        yield running


@pytest.mark.own_stack
def test_the_command_lists_exports_and_verifies(alone: Stack) -> None:
    by = alone.key("admin")
    assert by.post("/projects", {"id": "told"}).status == 201
    listed = rdev(alone, "list", "--action", "project.created", "-p", "told")
    assert listed.returncode == 0, listed.stderr
    assert "project.created" in listed.stdout
    exported = [json.loads(line) for line in rdev(alone, "export").stdout.splitlines()]
    assert exported == log(by)[-len(exported) :]
    verified = rdev(alone, "verify")
    assert verified.returncode == 0, verified.stderr
    head = verified.stdout.strip()
    by.post("/projects", {"id": "told-later"})
    assert rdev(alone, "verify", "--head", head).returncode == 0
    another = f"{head.partition(':')[0]}:{'0' * 64}"
    refused = rdev(alone, "verify", "--head", another)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert rdev(alone, "verify", "--head", "nonsense").returncode == 2


@pytest.mark.own_stack
def test_the_client_reads_and_verifies(alone: Stack) -> None:
    for number in range(3):
        alone.admin.post("/keys", {"name": f"client-{number}", "scopes": ["projects:read"]})
    with Client(alone.base_url, alone.admin_key) as client:
        newest = list(client.audit.list(limit=3))
        assert len(newest) == 3
        assert [row.seq for row in client.audit.export()][:3] == [row.seq for row in newest]
        head = client.audit.verify().head
        assert ChainHead.parse(str(head)) == head
        assert client.audit.verify(head).ok


@pytest.mark.own_stack
def test_a_row_changed_behind_rdevs_back_is_named(alone: Stack) -> None:
    before = alone.admin.get("/audit/verify")
    assert before.data["ok"], before.body
    victim = log(alone.admin, action="project.created")[-1]
    with psycopg.connect(database_of(alone), autocommit=True) as superuser:
        superuser.execute("SET session_replication_role = replica")  # no trigger stands in the way
        changed = superuser.execute(
            "UPDATE audit_log SET entry = replace(entry, %s, 'key-nobody') WHERE seq = %s",
            [victim["key_id"], victim["seq"]],
        )
        assert changed.rowcount == 1
    found = rdev(alone, "verify")
    assert found.returncode == 1
    assert f"row {victim['seq']}" in found.stderr
    verdict = alone.admin.get("/audit/verify").data
    assert (verdict["ok"], verdict["first_bad_seq"]) == (False, victim["seq"])


def database_of(stack: Stack) -> str:
    return Stores.of(layout.find(stack.home)).postgres.url()
