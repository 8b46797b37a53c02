"""Each function alone, as functions-framework serves it: a process of its own, real stores."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from free_port import free_port
from http_client import Answer, Http
from key_service import NOWHERE, key_service
from live_stack import ENOUGH_S, kill_commands_of, processes_of, wait_for
from loopback_receiver import receiving
from rdev.adapters.postgres.database import Database
from rdev.config import SOURCE_ROOT

PEPPER = "p" * 32
NO_DATABASE = "postgresql://nobody@127.0.0.1:9/none"
NOUNS = ("keys", "projects", "exec", "events", "webhooks", "system", "runner")

# What an admin gets at a path, by the function that serves it.
PATHS = {
    "keys": {("GET", "/keys"): 200, ("GET", "/keys/key-1"): 404, ("PUT", "/keys"): 405},
    "projects": {
        ("GET", "/projects"): 200,
        ("GET", "/projects/none"): 404,
        ("PUT", "/projects/none"): 405,
    },
    "exec": {
        ("GET", "/queue"): 200,
        ("POST", "/projects/none/shell"): 404,
        ("POST", "/projects/none/git"): 404,
        ("POST", "/projects/none/claude"): 404,
        ("GET", "/projects/none/commands"): 404,
        ("GET", "/projects/none/shell"): 405,
    },
    "events": {("GET", "/projects/none/events"): 404, ("PUT", "/projects/none/events"): 405},
    "webhooks": {
        ("GET", "/webhooks"): 200,
        ("GET", "/webhooks/deliveries"): 200,
        ("GET", "/webhooks/wh-1"): 404,
        ("PUT", "/webhooks"): 405,
        ("GET", "/"): 405,
    },
    "system": {("GET", "/health"): 200, ("GET", "/ready"): 200, ("GET", "/metrics"): 200},
    "runner": {("GET", "/"): 405},
}
BODIES = {"git": {"args": ["status"]}, "claude": {"prompt": "hi"}}
NOTHING_HERE = "There is nothing at"

Start = Callable[..., "Function"]


class Function:
    """A running function, and a client that holds the admin's key."""

    def __init__(self, process: "subprocess.Popen[bytes]", http: Http, log: Path) -> None:
        self.process = process
        self.http = http
        self.log = log

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return bool(self.http.get("/no-such-path").status)
        except OSError:
            return False


@pytest.fixture
def admin_key(database_url: str) -> str:
    database = Database(database_url, pool_size=1, timeout_s=10)
    try:
        secret = key_service(database, pepper=PEPPER).create_first()
        assert secret
        return secret
    finally:
        database.close()


@pytest.fixture
def start(tmp_path: Path, database_url: str, redis_url: str, admin_key: str) -> Iterator[Start]:
    """Starts functions by their nouns; ends them all when the test is over."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "THREADS": "8",
        "RDEV_DATABASE_URL": database_url,
        "RDEV_REDIS_URL": redis_url,
        "RDEV_PEPPER": PEPPER,
        "RDEV_DEFAULT_RATE_LIMIT": "100000",
        "RDEV_WORKSPACES_DIR": str(tmp_path / "workspaces"),
        "RDEV_COMMANDS_DIR": str(tmp_path / "commands"),
    }
    if "PYTHONPATH" in os.environ:
        env["PYTHONPATH"] = os.environ["PYTHONPATH"]
    with ExitStack() as running:
        running.callback(kill_commands_of, tmp_path)

        def started(noun: str, **settings: object) -> Function:
            more = {f"RDEV_{name.upper()}": str(value) for name, value in settings.items()}
            return running.enter_context(serving(noun, env | more, tmp_path, admin_key))

        yield started


@contextmanager
def serving(noun: str, env: dict[str, str], folder: Path, key: str) -> Iterator[Function]:
    port, log = free_port(), folder / f"{noun}.log"
    framework = str(Path(sys.executable).with_name("functions-framework"))
    source = ["--source", f"functions/{noun}/main.py", "--target", noun]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [framework, *source, "--host", "127.0.0.1", "--port", str(port)],
            env=env,
            cwd=SOURCE_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        function = Function(process, Http(port, key), log)
        wait_for(function.answers)
        yield function
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(ENOUGH_S)


def is_not_here(answer: Answer, request_id: str) -> bool:
    """Whether this is the 404 of a path that the function does not serve, in the envelope."""
    assert answer.headers["X-Request-ID"] == request_id
    if answer.status != 404:
        return False
    assert set(answer.json) == {"error", "meta"}
    assert answer.json["meta"]["request_id"] == request_id
    assert answer.error["code"] == "NOT_FOUND"
    return str(answer.error["message"]).startswith(NOTHING_HERE)


@pytest.mark.parametrize("noun", NOUNS)
def test_a_function_serves_its_own_paths_and_no_others(start: Start, noun: str) -> None:
    http = start(noun).http
    headers = {"Content-Type": "application/json", "X-Request-ID": "req-1"}
    for paths in PATHS.values():
        for (method, path), status in paths.items():
            body = BODIES.get(path.rpartition("/")[2], {"command": "true"})
            ask = partial(http.request, method, path, json.dumps(body).encode(), headers)
            # 503: where a busy machine's store did not answer /ready within its second.
            answer = wait_for(lambda ask=ask: (it := ask()).status != 503 and it)
            # Two of them have a wake-up; what tells of the process itself, all have.
            if (method, path) in PATHS[noun] or path in ("/health", "/ready", "/metrics"):
                assert answer.status == status, (method, path, answer.body)
                assert not is_not_here(answer, "req-1")
            else:
                assert is_not_here(answer, "req-1"), (method, path, answer.body)


@pytest.mark.parametrize("noun", ["keys", "projects", "exec", "events"])
def test_a_function_alone_asks_for_a_key_and_bounds_bodies(start: Start, noun: str) -> None:
    function = start(noun)
    stranger = Http(function.http.port)
    protected = [path for (method, path), _ in PATHS[noun].items() if method == "GET"][:1]
    assert [stranger.get(path).status for path in protected] == [401]
    large = b'{"name": "' + b"x" * 3_000_000 + b'"}'
    for body in (large, iter([large[:2_000_000], large[2_000_000:]])):
        answer = function.http.request(
            "POST", protected[0], body, {"Content-Type": "application/json"}
        )
        assert (answer.status, answer.error["code"]) == (413, "PAYLOAD_TOO_LARGE")


def test_keys_made_by_one_function_are_known_to_the_others(start: Start) -> None:
    made = start("keys").http.post("/keys", {"name": "ci", "scopes": ["projects:read"]})
    assert made.status == 201
    other = Http(start("projects").http.port, made.data["key"])
    assert other.get("/projects").status == 200
    assert other.post("/projects", {"id": "new"}).status == 403


def queue_one(start: Start, command: str) -> tuple[Function, str]:
    """A queued command in the project `demo`, and the exec function that took it."""
    assert start("projects").http.post("/projects", {"id": "demo"}).status == 201
    exec_ = start("exec")
    record = exec_.http.shell("demo", command)
    assert record["status"] == "queued"
    return exec_, record["id"]


def wake(runner: Function) -> Answer:
    """As a Broker would."""
    event = {"ce-specversion": "1.0", "ce-type": "dev.rdev.command.queued.v1", "ce-id": "1"}
    headers = {**event, "ce-source": "/test", "Content-Type": "application/json"}
    return runner.http.request("POST", "/", b"{}", headers)


def test_the_runner_drains_the_queue_within_the_request(start: Start) -> None:
    exec_, command_id = queue_one(start, "echo out; echo err >&2; exit 7")
    more = [exec_.http.shell("demo", f"echo {number}")["id"] for number in range(7)]
    runner = start("runner")
    answer = wake(runner)
    assert (answer.status, answer.body) == (204, b"")
    record = exec_.http.record("demo", command_id)
    assert (record["status"], record["exit_code"]) == ("failed", 7)
    assert exec_.http.output("demo", command_id) == b"out\n"
    assert exec_.http.output("demo", command_id, "stderr") == b"err\n"
    assert {exec_.http.record("demo", each)["status"] for each in more} == {"succeeded"}
    again = wake(runner)
    assert (again.status, again.body) == (204, b"")


def test_a_runner_whose_time_is_over_hands_over_what_runs(start: Start, tmp_path: Path) -> None:
    exec_, command_id = queue_one(start, "until [ -e go ]; do sleep 0.05; done; echo went")
    first = wake(start("runner", drain_for_s=0.5))
    assert (first.status, first.body) == (204, b"")
    assert exec_.http.record("demo", command_id)["status"] == "running"
    assert processes_of(command_id)
    (tmp_path / "workspaces/demo/go").touch()
    second = wake(start("runner"))
    assert second.status == 204
    record = exec_.http.record("demo", command_id)
    assert (record["status"], record["exit_code"]) == ("succeeded", 0)
    assert exec_.http.output("demo", command_id) == b"went\n"


def test_events_stream_under_the_frameworks_own_server(start: Start, tmp_path: Path) -> None:
    """Its threads serve several streams at once, live, to their end."""
    _, command_id = queue_one(start, "echo first; until [ -e go ]; do sleep 0.05; done; echo last")
    events, runner = start("events"), start("runner", drain_for_s=20)
    with ExitStack() as opened:
        readers = [opened.enter_context(events.http.events("demo", command_id)) for _ in range(5)]
        assert all("text/event-stream" in reader.head for reader in readers)
        waking = opened.enter_context(subprocess_post(runner))
        for reader in readers:
            reader.read(lambda each: each.of("output"))
            assert reader.output() == b"first\n"
        (tmp_path / "workspaces/demo/go").touch()
        for reader in readers:
            kinds = [event.type for event in reader.read_to_end()]
            assert kinds[:2] == ["command.queued", "command.started"]
            assert kinds[-1] == "command.finished"
            assert reader.output() == b"first\nlast\n"
        assert waking.wait(ENOUGH_S) == 0
    last_id = readers[0].events[-1].id
    with events.http.events("demo", command_id, last_id=last_id) as reader:
        assert reader.status == 204


@contextmanager
def subprocess_post(runner: Function) -> Iterator["subprocess.Popen[bytes]"]:
    """A wake-up that is under way; ends with 0 where it was answered by 204."""
    code = (
        "import sys, http.client as h; c = h.HTTPConnection('127.0.0.1', int(sys.argv[1]));"
        "c.request('POST', '/'); sys.exit(c.getresponse().status != 204)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(runner.http.port)]) as process:
        try:
            yield process
        finally:
            process.kill()


def test_sigterm_ends_open_streams_politely(start: Start) -> None:
    _, command_id = queue_one(start, "true")
    events = start("events")
    with events.http.events("demo", command_id) as reader:
        reader.read(lambda each: each.events)
        events.process.terminate()
        assert [event.type for event in reader.read_to_end()] == ["command.queued"]
    assert events.process.wait(ENOUGH_S) == 0


def test_nothing_is_opened_while_a_function_is_loaded(start: Start) -> None:
    """The framework loads it before its server forks: a connection made there would be shared."""
    function = start("exec", database_url=NO_DATABASE, store_timeout_s=1)
    master = psutil.Process(function.process.pid)
    assert [each.raddr for each in master.net_connections() if each.raddr] == []
    answer = function.http.get("/queue")
    assert (answer.status, answer.error["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) >= 1
    assert json.loads(answer.body)["meta"]["request_id"]


def test_a_mistake_of_rdevs_own_is_a_plain_500_and_its_cause_is_in_the_log_alone(
    start: Start, database_url: str
) -> None:
    function = start("projects")
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table projects rename to lost_table")
    answer = function.http.get("/projects/demo", x_request_id="asked-1")
    assert (answer.status, answer.error["code"]) == (500, "INTERNAL_ERROR")
    assert set(answer.error) == {"code", "message"}
    for word in (b"psycopg", b"relation", b"select", b"Traceback", b".py"):
        assert word not in answer.body
    wait_for(lambda: "UndefinedTable" in function.log.read_text())
    assert "request asked-1 failed" in function.log.read_text()


def test_a_password_in_the_address_of_a_repository_is_not_shown(
    start: Start, database_url: str
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into projects (id, git_url, created_by) values "
            "('demo', 'https://me:tell-nobody@example.com/a/b.git', 'key-1')"
        )
    projects = start("projects").http
    shown = projects.get("/projects/demo")
    assert "example.com/a/b.git" in shown.data["git_url"]
    for answer in (shown, projects.get("/projects")):
        assert answer.status == 200
        assert b"tell-nobody" not in answer.body


def test_without_redis_limits_hold_and_what_needs_it_says_so(start: Start) -> None:
    projects = start("projects", redis_url=NOWHERE, default_rate_limit=3)
    made = projects.http.post("/projects", {"id": "demo"})
    assert made.status == 201
    assert made.headers["X-RateLimit-Remaining"] == "2"
    answers = [projects.http.get("/projects/demo") for _ in range(30)]
    refused = next(answer for answer in answers if answer.status != 200)
    assert (refused.status, refused.error["code"]) == (429, "TOO_MANY_REQUESTS")
    assert int(refused.headers["Retry-After"]) >= 1
    events = start("events", redis_url=NOWHERE)
    for answer in (
        events.http.post("/projects/demo/events/ticket"),
        events.http.get("/projects/demo/events"),
    ):
        assert (answer.status, answer.error["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert "Redis" in answer.error["message"]
        assert int(answer.headers["Retry-After"]) >= 1
        assert "X-RateLimit-Remaining" in answer.headers
    assert "counted in each process alone" in projects.log.read_text()
    told = projects.http.get("/metrics").body.decode()
    assert re.search(r"^rdev_limiter_fallbacks_total\S* [1-9]", told, re.MULTILINE), told


@contextmanager
def playing_broker() -> Iterator["PlayedBroker"]:
    """A Broker with one Trigger: takes events at once, and hands them on in its own time."""
    broker = PlayedBroker(("127.0.0.1", 0), _Taken)
    thread = threading.Thread(target=broker.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield broker
    finally:
        broker.shutdown()
        thread.join(ENOUGH_S)
        broker.server_close()


class PlayedBroker(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.types: list[str] = []
        self.subscriber: Http | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Taken(BaseHTTPRequestHandler):
    server: PlayedBroker

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        sent = {name.lower(): value for name, value in self.headers.items()}
        event = {name: value for name, value in sent.items() if name.startswith("ce-")}
        self.server.types.append(event["ce-type"])
        self.send_response(202)
        self.end_headers()
        if self.server.subscriber is not None:
            self.server.subscriber.request("POST", "/", body, event)

    def log_message(self, *_: object) -> None:
        """Nothing: the types are the record."""


def test_a_runner_that_leaves_work_behind_wakes_the_next_one(start: Start) -> None:
    with playing_broker() as broker:
        runner = start("runner", drain_for_s=0.5, broker_url=broker.url)
        broker.subscriber = runner.http
        exec_ = start("exec", broker_url=broker.url)
        projects = start("projects")
        assert projects.http.post("/projects", {"id": "demo"}).status == 201
        command = exec_.http.shell("demo", "sleep 2; echo woken")["id"]
        wait_for(lambda: exec_.http.record("demo", command)["status"] == "succeeded")
        assert exec_.http.output("demo", command) == b"woken\n"
    assert set(broker.types) == {"dev.rdev.command.queued.v1"}
    assert len(broker.types) >= 3  # the submission's, and one for each runner that handed over


def test_a_broker_that_is_gone_costs_no_submission(start: Start) -> None:
    exec_ = start("exec", broker_url=f"http://127.0.0.1:{free_port()}")
    projects = start("projects")
    assert projects.http.post("/projects", {"id": "demo"}).status == 201
    command = exec_.http.shell("demo", "echo late")["id"]
    assert wake(start("runner")).status == 204
    assert exec_.http.record("demo", command)["status"] == "succeeded"


def test_a_woken_webhooks_function_delivers_and_answers_without_a_body(start: Start) -> None:
    """Its broker is told by whoever writes something to deliver; a lost wake-up waits for the next
    one."""
    with playing_broker() as broker, receiving() as receiver:
        more = {"webhook_allow_cidrs": "127.0.0.0/8", "webhook_allow_http": True}
        webhooks = start("webhooks", **more)
        made = webhooks.http.post("/webhooks", {"url": receiver.url, "events": ["project.*"]})
        assert made.status == 201, made.body
        assert start("projects").http.post("/projects", {"id": "unheard"}).status == 201
        assert receiver.got == []
        event = {"ce-specversion": "1.0", "ce-type": "dev.rdev.sweep.v1", "ce-source": "/cron"}
        for _ in range(2):  # the second finds nothing due
            answer = webhooks.http.request("POST", "/", b"{}", {**event, "ce-id": "1"})
            assert (answer.status, answer.body) == (204, b"")
        assert len(receiver.got) == 1
        assert receiver.got[0].verified(made.data["secret"])["data"]["id"] == "unheard"
        broker.subscriber = webhooks.http
        heard = start("projects", broker_url=broker.url)
        assert heard.http.post("/projects", {"id": "heard"}).status == 201
        receiver.await_count(2)
    assert set(broker.types) == {"dev.rdev.delivery.due.v1"}
