"""The Python client, against a real server that breaks off, refuses and repeats itself."""

import base64
import itertools
import json
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdev.client import (
    BadRequest,
    CannotConnect,
    Client,
    ClientError,
    Conflict,
    Disconnected,
    Event,
    Gap,
    NotFound,
    NotRdev,
    Output,
    Patience,
    StreamStalled,
    TooManyRequests,
    Unauthorized,
)
from rdev.client.events import Seam, parse
from wire_server import COMMAND, KEY, Script, finished, output, record, wire_server


@pytest.fixture
def server():
    with wire_server() as script:
        yield script


@pytest.fixture
def client(server: Script):
    with Client(server.url, KEY, patience=Patience(retry_s=5, stalled_s=5)) as client:
        yield client


def content(events: list[Event], stream: str = "stdout") -> bytes:
    return b"".join(e.content for e in events if isinstance(e, Output) and e.stream == stream)


def test_a_stream_gives_bytes_and_ends_with_the_command(server: Script, client: Client):
    raw = bytes(range(256))
    server.events = [
        ("0-1", "command.queued", {"command": record(), "position": 1}),
        ("7-0", "output", output(0, "grüß")),
        ("7-256", "output", output(0, base64.b64encode(raw).decode(), "stderr", encoding="base64")),
        ("7-256-x", "something.new", {"of": "a newer server"}),
        finished("failed", exit_code=7),
    ]
    events = list(client.events("demo", COMMAND))
    assert content(events) == "grüß".encode()
    assert content(events, "stderr") == raw
    assert events[-1].command.exit_code == 7
    assert [e.type for e in events if type(e) is Event] == ["something.new"]


def test_a_stream_broken_at_any_byte_drops_and_repeats_nothing(server: Script, client: Client):
    server.events = [(f"{n + 2}-0", "output", output(n, chr(97 + n))) for n in range(10)]
    server.events.append(finished())
    server.cuts = [1, 90, 300, 17, 101, 200]
    events = list(client.events("demo", COMMAND))
    assert content(events) == b"abcdefghij"
    assert [e.type for e in events].count("command.finished") == 1
    asked = server.asked("GET", "/projects/demo/events")
    assert len(asked) == 7
    assert asked[0].query == {"stream_id": COMMAND}
    assert "last-event-id" not in asked[0].headers
    assert [int(each.headers["last-event-id"].split("-")[0]) for each in asked[3:]] == sorted(
        int(each.headers["last-event-id"].split("-")[0]) for each in asked[3:]
    )


def test_a_reconnect_after_the_end_ends_quietly(server: Script, client: Client):
    server.events = [finished()]
    assert list(client.events("demo", COMMAND, after="9-9")) == []


def test_a_stream_resumes_through_errors_that_pass(server: Script, client: Client):
    server.events = [finished()]
    server.refusals["GET /projects/demo/events"] = [(503, {"Retry-After": "0"}), (500, {}), (0, {})]
    assert [e.type for e in client.events("demo", COMMAND)] == ["command.finished"]


def test_a_stream_that_is_refused_for_good_says_so_at_once(server: Script, client: Client):
    server.refusals["GET /projects/demo/events"] = [(404, {})]
    with pytest.raises(NotFound):
        list(client.events("demo", COMMAND))


def test_a_stream_without_progress_gives_up_with_the_id_to_resume_from(server: Script):
    server.events = [("2-0", "output", output(0, "a"))]  # and then it closes, again and again
    with Client(server.url, KEY, patience=Patience(stalled_s=0.5)) as client:
        events = client.events("demo", COMMAND)
        assert next(events).id == "2-0"
        with pytest.raises(StreamStalled) as raised:
            list(events)
    assert raised.value.last_id == "2-0"


def test_a_whole_projects_stream_goes_on_after_a_commands_end(server: Script, client: Client):
    server.events = [finished(), ("9-10", "project.stopped", {})]
    events = itertools.islice(client.events("demo"), 2)
    assert [e.type for e in events] == ["command.finished", "project.stopped"]


def test_missing_output_is_announced_where_the_server_did_not(server: Script, client: Client):
    server.events = [
        ("2-0", "output", output(0, "a")),
        ("9-0", "output", output(5, "b")),
        finished(),
    ]
    gap = list(client.events("demo", COMMAND))[1]
    assert isinstance(gap, Gap)
    assert (gap.data["from"], gap.data["to"]) == (1, 5)


@given(
    st.binary(min_size=1, max_size=40),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8),
)
def test_output_cut_anew_and_repeated_is_joined_exactly(written: bytes, cuts):
    seam, seen, got = Seam(from_start=True), 0, b""
    for back, length in [*cuts, (0, len(written))]:
        start = max(0, seen - back)
        piece = written[start : start + length]
        text = base64.b64encode(piece).decode()
        data = output(start, text, encoding="base64")
        for joined in seam.join(parse("1-0", "output", json.dumps(data))):
            assert isinstance(joined, Output)
            assert joined.offset == len(got)
            got += joined.content
        seen = max(seen, start + len(piece))
    assert got == written


def test_claude_messages_leave_no_false_gap():
    seam = Seam(from_start=True)
    message = parse("41-0", "claude.message", '{"command_id":"c","offset":0,"message":{}}')
    later = parse(
        "45-0", "output", '{"command_id":"c","stream":"stdout","offset":40,"data":"rest"}'
    )
    assert [e.type for each in (message, later) for e in seam.join(each)] == [
        "claude.message",
        "output",
    ]


@pytest.mark.parametrize("text", ["no json", "[]", '{"data": 1, "offset": "x"}', '{"data":"a"}'])
def test_an_event_that_cannot_be_read_is_an_error_of_the_clients_own(text: str):
    with pytest.raises(NotRdev):
        parse("1-0", "output", text)


def test_a_submit_is_sent_again_with_the_same_idempotency_key(server: Script, client: Client):
    server.refusals["POST /projects/demo/shell"] = [(0, {}), (502, {}), (429, {"Retry-After": "0"})]
    command = client.submit("demo", "shell", command="true", env={"A": "1"}, timeout_s=3)
    assert (command.id, command.project, command.status) == (COMMAND, "demo", "queued")
    asked = server.asked("POST", "/projects/demo/shell")
    assert len(asked) == 4
    assert len({each.headers["idempotency-key"] for each in asked}) == 1
    assert asked[-1].body == {"command": "true", "env": {"A": "1"}, "timeout_s": 3}


def test_two_submits_have_two_idempotency_keys_unless_told(server: Script, client: Client):
    for given_key in (None, None, "mine"):
        client.submit("demo", "shell", command="true", idempotency_key=given_key)
    sent = [e.headers["idempotency-key"] for e in server.asked("POST", "/projects/demo/shell")]
    assert len(set(sent)) == 3
    assert sent[2] == "mine"


def test_creating_a_key_is_never_repeated_blindly(server: Script, client: Client):
    server.refusals["POST /keys"] = [(0, {})]
    with pytest.raises(Disconnected):
        client.create_key("ci", ["projects:read"])
    assert len(server.asked("POST", "/keys")) == 1


def test_creating_a_key_waits_out_a_rate_limit(server: Script, client: Client):
    server.refusals["POST /keys"] = [(429, {"Retry-After": "0"})]
    server.answers["POST /keys"] = (201, {"data": {"id": "key-1", "name": "ci", "key": "rdev_x"}})
    key = client.create_key("ci", ["projects:read"], rate_limit=3)
    assert key.secret == "rdev_x"
    assert "rdev_x" not in repr(key)
    assert server.asked("POST", "/keys")[-1].body["rate_limit"] == 3


def test_lists_are_read_page_after_page(server: Script, client: Client):
    pages = iter(
        [
            {"data": [{"id": "a"}, {"id": "b"}], "meta": {"next_cursor": "b"}},
            {"data": [{"id": "c"}], "meta": {"next_cursor": None}},
        ]
    )

    class Paged(dict):
        def __getitem__(self, key):
            return (200, next(pages))

    server.answers = Paged({"GET /projects": None})
    assert [project.id for project in client.projects()] == ["a", "b", "c"]
    assert [each.query for each in server.asked("GET", "/projects")] == [{}, {"cursor": "b"}]


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, BadRequest), (401, Unauthorized), (404, NotFound), (409, Conflict), (413, BadRequest)],
)
def test_a_refusal_keeps_code_message_and_request_id(server, client, status, error):
    server.refusals["GET /projects"] = [(status, {})]
    with pytest.raises(error) as raised:
        client.projects()
    exc = raised.value
    assert (exc.status, exc.code, exc.request_id) == (status, f"CODE_{status}", "req-1")
    assert len(server.asked("GET", "/projects")) == 1


def test_a_refusal_names_its_fields(server: Script, client: Client):
    error = {
        "code": "BAD_REQUEST",
        "message": "wrong",
        "details": [{"field": "id", "message": "bad"}],
    }
    server.answers["POST /projects"] = (400, {"error": error, "meta": {}})
    with pytest.raises(BadRequest) as raised:
        client.create_project("../etc")
    assert [(d.field, d.message) for d in raised.value.details] == [("id", "bad")]


def test_a_limit_that_stays_is_raised_after_a_while(server: Script):
    server.refusals["GET /projects"] = [(429, {"Retry-After": "60"})]
    with (
        Client(server.url, KEY, patience=Patience(retry_s=1)) as client,
        pytest.raises(TooManyRequests) as raised,
    ):
        client.projects()
    assert raised.value.retry_after_s == 60


def test_an_answer_that_is_not_rdevs_is_called_that(server: Script, client: Client):
    server.answers["GET /projects"] = (200, ["hello"])
    with pytest.raises(NotRdev):
        client.projects()


def test_nobody_there_is_said_with_the_address():
    with (
        Client("http://127.0.0.1:9", KEY, patience=Patience(refused_s=0.2)) as client,
        pytest.raises(CannotConnect, match=r"http://127\.0\.0\.1:9 "),
    ):
        client.projects()


def test_names_cannot_become_other_paths(server: Script, client: Client):
    with pytest.raises(NotFound):
        client.project("../keys?x=1")
    assert server.seen[-1].path == "/projects/..%2Fkeys%3Fx%3D1"


def test_output_is_resumed_where_the_connection_broke(server: Script, client: Client):
    server.downloads["stdout"] = bytes(range(256)) * 100
    server.cuts = [1000, 7000]
    path = f"/projects/demo/commands/{COMMAND}/output"
    assert b"".join(client.output("demo", COMMAND, "stdout")) == server.downloads["stdout"]
    assert len(server.asked("GET", path)) == 3
    assert server.asked("GET", path)[1].headers["range"] == "bytes=1000-"


@pytest.mark.parametrize("bad", ["", "rdev_\nX-Evil: 1", "rdev_ä", "a b"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(bad: str):
    with pytest.raises(ClientError) as raised:
        Client("http://127.0.0.1:9", bad)
    assert not bad or bad not in str(raised.value)


@pytest.mark.parametrize("bad", ["", "demo", "ftp://x", "http://", "127.0.0.1:8080"])
def test_an_address_that_is_no_url_is_refused(bad: str):
    with pytest.raises(ClientError, match="URL"):
        Client(bad, KEY)


def test_no_traceback_or_repr_shows_the_key(server: Script, client: Client):
    server.refusals["GET /projects"] = [(403, {})]
    with pytest.raises(ClientError) as raised:
        client.projects()
    below = raised.value.with_traceback(raised.value.__traceback__.tb_next)  # not this test's
    shown = traceback.TracebackException.from_exception(below, capture_locals=True)
    assert KEY not in "".join(shown.format())
    assert KEY not in repr(client)
