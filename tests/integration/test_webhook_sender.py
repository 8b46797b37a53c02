"""One attempt over HTTP, against receivers that do what they should not."""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import webhook_receiver as receivers
from webhook_receiver import Certificates, answering, hanging_up, receiver, saying

from free_port import free_port
from rdev.adapters.webhooks.guard import Guard
from rdev.adapters.webhooks.sender import WebhookSender
from rdev.domain.attempts import Outcome, Outgoing

LOOPBACK = ("127.0.0.0/8", "::1/128")
BODY = b'{"type":"test"}'
STAGES = ("at once", "amid the request", "after the request", "amid the status", "amid the head")


@contextmanager
def sending(
    allow: tuple[str, ...] = LOOPBACK,
    *,
    resolve: Any = lambda _name: ["127.0.0.1"],
    allow_http: bool = True,
    keep_names_s: float = 60.0,
    **more: Any,
) -> Iterator[WebhookSender]:
    guard = Guard(allow, allow_http=allow_http, resolve=resolve, keep_names_s=keep_names_s)
    sender = WebhookSender(guard, **more)
    try:
        yield sender
    finally:
        sender.close()


@pytest.fixture
def sender() -> Iterator[WebhookSender]:
    with sending() as one:
        yield one


@pytest.fixture
def hasty() -> Iterator[WebhookSender]:
    """One whose attempts are soon over."""
    with sending(timeout_s=0.7, connect_timeout_s=0.7) as one:
        yield one


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def outgoing(url: str, body: bytes = BODY, **headers: str) -> Outgoing:
    return Outgoing(url, {"webhook-id": "evt-1", **headers}, body)


def test_a_request_arrives_as_it_was_given(sender: WebhookSender):
    with receiver(answering(200, {"X-Is": "here"}, b"thanks")) as good:
        url = good.at("127.0.0.1", "/a%20path/?and=a&query")
        outcome = sender.send(outgoing(url, X_Own="1"))
        [request] = good.received(1)
    assert outcome.duration_ms >= 0
    assert outcome == Outcome(
        status=200,
        error=None,
        message="Answered 200.",
        address="127.0.0.1",
        duration_ms=outcome.duration_ms,
        headers={"x-is": "here", "content-length": "6"},
        body=b"thanks",
        retry_after_s=None,
    )
    assert request.line == "POST /a%20path/?and=a&query HTTP/1.1"
    assert request.body == BODY
    assert request.headers == {
        "host": f"127.0.0.1:{good.port}",
        "webhook-id": "evt-1",
        "x_own": "1",
        "user-agent": "rdev",
        "accept-encoding": "identity",
        "content-length": str(len(BODY)),
    }


def test_a_name_is_what_the_receiver_hears_and_the_address_what_is_recorded(sender: WebhookSender):
    with receiver(answering()) as good:
        outcome = sender.send(outgoing(good.at("Receiver.Test.")))
        assert good.received(1)[0].headers["host"] == f"receiver.test:{good.port}"
    assert (outcome.status, outcome.address) == (204, "127.0.0.1")


def test_an_ipv6_address_goes_into_brackets(sender: WebhookSender):
    with receiver(answering(), host="::1") as good:
        outcome = sender.send(outgoing(good.at("[::1]")))
        assert good.received(1)[0].headers["host"] == f"[::1]:{good.port}"
    assert (outcome.status, outcome.address) == (204, "::1")


def test_a_connection_is_kept_for_the_next_request(sender: WebhookSender):
    with receiver(answering(200, {}, b"ok")) as good:
        outcomes = [sender.send(outgoing(good.url)) for _ in range(5)]
        assert [outcome.body for outcome in outcomes] == [b"ok"] * 5
        assert good.connections == 1


@pytest.mark.parametrize("body", [b"", b"\x00\xff", b"x" * 300_000])
def test_any_body_arrives_whole(sender: WebhookSender, body: bytes):
    with receiver(answering()) as good:
        assert sender.send(outgoing(good.url, body)).status == 204
        assert good.received(1)[0].body == body


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n4;x=y\r\n of \r\n2\r\n"
        b"it\r\n0\r\nX-Trailer: 1\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nall of it",
        b"HTTP/1.1 200\r\n\r\nall of it",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall of it",
    ],
    ids=["chunked", "1.0", "until the end", "after hints"],
)
def test_an_answer_is_understood_in_each_of_its_forms(sender: WebhookSender, answer: bytes):
    with receiver(saying(answer)) as good:
        outcome = sender.send(outgoing(good.url))
    assert (outcome.status, outcome.body) == (200, b"all of it")


@pytest.mark.parametrize("status", [200, 299, 302, 307, 400, 410, 429, 500, 503])
def test_whatever_was_answered_is_recorded_and_no_redirect_followed(
    sender: WebhookSender, status: int
):
    with receiver(answering()) as elsewhere:
        answer = answering(status, {"Location": elsewhere.url})
        with receiver(answer) as first:
            outcome = sender.send(outgoing(first.url))
        assert elsewhere.connections == 0
    assert (outcome.status, outcome.error, outcome.ours) == (status, None, False)
    assert outcome.headers["location"] == elsewhere.url


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("120", 120),
        ("0", 0),
        (" 7 ", 7),
        ("99999999999999999999", 86400),
        ("1.5", None),
        ("-3", None),
        ("soon", None),
        ("²", None),
        ("Wed, 99 Foo 2026 99:99:99 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86400),
    ],
)
def test_retry_after_is_understood_and_bounded(
    sender: WebhookSender, header: str, expected: float | None
):
    with receiver(answering(429, {"Retry-After": header})) as busy:
        assert sender.send(outgoing(busy.url)).retry_after_s == expected


def test_retry_after_may_be_a_date(sender: WebhookSender):
    date = datetime.now(UTC) + timedelta(hours=2)
    for text in (format_datetime(date, usegmt=True), format_datetime(date).replace("+", "-")):
        with receiver(answering(503, {"Retry-After": text})) as busy:
            asked_s = sender.send(outgoing(busy.url)).retry_after_s
        assert asked_s is not None
        assert 7000 < asked_s <= 7200


@pytest.mark.parametrize(
    "behaviour",
    [
        receivers.silent,
        receivers.deaf,
        receivers.DRIPPING_HEADERS,
        receivers.saying_without_end(b"", b"H", every_s=0.05),
        receivers.saying_without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n", every_s=0.05),
    ],
    ids=["silent", "deaf", "dripping headers", "dripping status", "dripping 100s"],
)
def test_an_attempt_is_over_at_its_deadline(hasty: WebhookSender, behaviour: receivers.Behaviour):
    with receiver(behaviour) as slow:
        outcome = hasty.send(outgoing(slow.url, b"x" * 5_000_000))
    assert (outcome.status, outcome.error, outcome.address) == (None, "timeout", "127.0.0.1")


def test_a_body_that_drips_is_cut_at_the_deadline_and_what_came_is_kept(hasty: WebhookSender):
    with receiver(receivers.DRIPPING_BODY) as slow:
        outcome = hasty.send(outgoing(slow.url))
    assert (outcome.status, outcome.error) == (200, None)
    assert set(outcome.body) == {ord("x")}
    assert "beginning" in outcome.message


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n",
        b"Content-Length: 20481\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n10000\r\n",
        b"Content-Encoding: gzip\r\n\r\n",
    ],
    ids=["until the end", "length", "chunked", "gzip"],
)
def test_only_the_first_20_kb_of_a_body_are_taken(sender: WebhookSender, head: bytes):
    behaviour = receivers.saying_without_end(b"HTTP/1.1 200 OK\r\n" + head, b"x" * 1000)
    with receiver(behaviour) as endless:
        outcome = sender.send(outgoing(endless.url))
    assert outcome.status == 200
    assert outcome.body == b"x" * 20480


def test_a_body_of_just_20_kb_is_whole_and_its_connection_kept(sender: WebhookSender):
    with receiver(answering(200, {}, b"x" * 20480)) as good:
        outcomes = [sender.send(outgoing(good.url)) for _ in range(2)]
        assert good.connections == 1
    assert [outcome.message for outcome in outcomes] == ["Answered 200."] * 2


@pytest.mark.parametrize(
    "behaviour",
    [
        receivers.ENDLESS_HEADERS,
        receivers.ONE_ENDLESS_HEADER,
        receivers.ENDLESS_CONTINUES,
        receivers.ENDLESS_HINTS,
        receivers.GARBAGE,
        saying(b"SSH-2.0-OpenSSH_9.2\r\n"),
        saying(b"HTTP/2.0 200 OK\r\n\r\n"),
        saying(b"HTTP/1.1 9999 What\r\n\r\n"),
        saying(b"HTTP/1.1 -200 OK\r\n\r\n"),
        saying(b"\r\n\r\n\r\n"),
    ],
    ids=lambda _: "",
)
def test_what_is_no_http_answer_is_a_bad_response(
    sender: WebhookSender, behaviour: receivers.Behaviour
):
    with receiver(behaviour) as bad:
        outcome = sender.send(outgoing(bad.url))
    assert (outcome.status, outcome.error, outcome.ours) == (None, "bad_response", False)


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("when", STAGES)
def test_a_receiver_that_hangs_up_is_said_to_have(sender: WebhookSender, when: str, reset: bool):
    with receiver(hanging_up(when, reset=reset)) as bad:
        outcome = sender.send(outgoing(bad.url))
        assert bad.connections == 1
    assert (outcome.status, outcome.error, outcome.ours) == (None, "hung_up", False)


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_a_body_that_breaks_off_was_an_answer_all_the_same(sender: WebhookSender, reset: bool):
    with receiver(hanging_up("amid the body", reset=reset)) as bad:
        outcome = sender.send(outgoing(bad.url))
    assert (outcome.status, outcome.error, outcome.body) == (200, None, b"half")
    assert "beginning" in outcome.message


def test_a_receiver_that_answers_before_it_has_read_is_heard(sender: WebhookSender):
    def behave(talk: receivers.Talk) -> None:
        talk.send(receivers.answer_of(413, {"Connection": "close"}))
        talk.sock.shutdown(socket.SHUT_WR)
        while talk.sock.recv(65536):
            pass

    with receiver(behave) as hurried:
        assert sender.send(outgoing(hurried.url, b"x" * 3_000_000)).status == 413


def test_a_kept_connection_that_was_closed_meanwhile_costs_no_attempt(sender: WebhookSender):
    def behave(talk: receivers.Talk) -> None:
        talk.request()
        talk.send(receivers.answer_of(204, {}))

    with receiver(behave) as closing:
        for _ in range(20):
            assert sender.send(outgoing(closing.url)).status == 204
        assert len(closing.requests) == 20


def test_a_kept_connection_that_ends_as_it_is_used_is_replaced_once(sender: WebhookSender):
    def behave(talk: receivers.Talk) -> None:
        talk.request()
        talk.send(receivers.answer_of(204, {}))
        talk.request()  # and hangs up

    with receiver(behave) as hanging:
        assert [sender.send(outgoing(hanging.url)).status for _ in range(3)] == [204] * 3
        assert [one.connection for one in hanging.requests] == [1, 1, 2, 2, 3]


def test_a_request_is_never_sent_a_third_time(sender: WebhookSender):
    def behave(talk: receivers.Talk) -> None:
        talk.request()
        if talk.number == 1:
            talk.send(receivers.answer_of(204, {}))
            talk.request()

    with receiver(behave) as bad:
        assert sender.send(outgoing(bad.url)).status == 204
        assert sender.send(outgoing(bad.url)).error == "hung_up"
        assert len(bad.requests) == 3


def test_what_came_unasked_is_never_taken_for_the_next_answer(sender: WebhookSender):
    twice = receivers.answer_of(204, {}) + receivers.answer_of(500, {})

    def behave(talk: receivers.Talk) -> None:
        while talk.request():
            talk.send(twice)

    with receiver(behave) as chatty:
        assert [sender.send(outgoing(chatty.url)).status for _ in range(3)] == [204] * 3


def test_a_refused_connection_is_said_to_be(sender: WebhookSender):
    outcome = sender.send(outgoing(f"http://127.0.0.1:{free_port()}/"))
    assert (outcome.error, outcome.address) == ("connection_refused", "127.0.0.1")


def test_a_connection_that_nobody_takes_ends_in_time():
    with sending(connect_timeout_s=0.3) as sender, receivers.unaccepting() as url:
        outcome = sender.send(outgoing(url))
    assert (outcome.error, outcome.ours) == ("connect_timeout", False)


def test_the_next_address_is_tried_where_the_first_takes_no_connection():
    with (
        receiver(answering(), host="127.0.0.3") as good,
        sending(resolve=lambda _: ["127.0.0.2", "127.0.0.3"]) as sender,
    ):
        outcomes = [sender.send(outgoing(good.at("two.test"))) for _ in range(2)]
        assert good.connections == 1
    assert [(one.status, one.address) for one in outcomes] == [(204, "127.0.0.3")] * 2


def test_the_connection_goes_to_the_address_that_was_judged_not_to_a_later_one():
    answers = iter([["127.0.0.2"], ["127.0.0.1"], ["127.0.0.1"]])
    with (
        receiver(answering(), host="127.0.0.2") as good,
        receiver(answering(), host="127.0.0.1", port=good.port) as private,
        sending(("127.0.0.2/32",), resolve=lambda _: next(answers)) as sender,
    ):
        outcomes = [sender.send(outgoing(good.at("rebinding.test"))) for _ in range(3)]
        assert (len(good.requests), private.connections) == (3, 0)
    assert {(one.status, one.address) for one in outcomes} == {(204, "127.0.0.2")}


def test_a_later_answer_is_judged_as_well_and_a_kept_connection_does_not_get_around_it():
    answers = iter([["127.0.0.2"], ["127.0.0.1"]])
    with (
        receiver(answering(), host="127.0.0.2") as good,
        sending(("127.0.0.2/32",), resolve=lambda _: next(answers), keep_names_s=0) as sender,
    ):
        first = sender.send(outgoing(good.at("rebinding.test")))
        second = sender.send(outgoing(good.at("rebinding.test")))
        assert len(good.requests) == 1
    assert (first.status, second.error) == (204, "blocked_address")


@pytest.mark.parametrize("answers", [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]])
def test_one_address_that_is_not_allowed_refuses_all_of_a_name(answers: list[str]):
    with (
        receiver(answering(), host="127.0.0.2") as good,
        sending(("127.0.0.2/32",), resolve=lambda _: answers) as sender,
    ):
        outcome = sender.send(outgoing(good.at("two.test")))
        assert good.connections == 0
    assert (outcome.error, outcome.address, outcome.ours) == ("blocked_address", None, False)
    assert "127.0.0" not in outcome.message


def test_nothing_private_is_reached_by_default():
    with receiver(answering()) as private, sending(()) as sender:
        for host in ("127.0.0.1", "localhost", "anything.test"):
            assert sender.send(outgoing(private.at(host))).error == "blocked_address"
        for host in ("2130706433", "0x7f.1", "0177.0.0.1", "127.1", "user:secret@127.0.0.1"):
            outcome = sender.send(outgoing(private.at(host)))
            assert outcome.error == "not_allowed_url"
            assert "secret" not in outcome.message
        assert private.connections == 0


def test_plain_http_is_refused_unless_it_is_allowed():
    with receiver(answering()) as plain, sending(allow_http=False) as sender:
        assert sender.send(outgoing(plain.url)).error == "not_allowed_url"
        assert plain.connections == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Own", "1\r\nX-Injected: 1"),
        ("X-Own", "1\nX-Injected: 1"),
        ("X-Own", "\x00"),
        ("X-Own", "\u2028"),
        ("X-Own: 1\r\nX-Injected", "1"),
        ("", "1"),
        ("Host", "internal"),
        ("Content-Length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("connection", "close"),
    ],
)
def test_a_header_cannot_change_what_the_request_is(sender: WebhookSender, name: str, value: str):
    with receiver(answering()) as good:
        outcome = sender.send(Outgoing(good.url, {name: value}, BODY))
        assert good.connections == 0
    assert (outcome.error, outcome.ours) == ("not_allowed_url", False)


def test_headers_of_an_answer_are_bounded_and_printable(sender: WebhookSender):
    many = {f"X-{number}": "v" * 5000 for number in range(20)} | {"X-Nul": "a\x00b\x85c"}
    with receiver(answering(200, many)) as verbose:
        headers = sender.send(outgoing(verbose.url)).headers
    assert headers["x-nul"] == "a b c"
    assert sum(len(value) for value in headers.values()) < 25_000
    lines = "".join(f"X-{number % 90}: v\r\n" for number in range(99))
    with receiver(saying(f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode())) as verbose:
        headers = sender.send(outgoing(verbose.url)).headers
    assert len(headers) == 64
    assert headers["x-1"] == "v, v"


def test_proxies_of_the_environment_are_not_used(
    sender: WebhookSender, monkeypatch: pytest.MonkeyPatch
):
    with receiver(answering()) as proxy, receiver(answering()) as good:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert sender.send(outgoing(good.url)).status == 204
        assert proxy.connections == 0


def test_tls_is_for_the_name_and_the_connection_is_kept(certificates: Certificates):
    with (
        receiver(answering(200, {}, b"ok"), tls=certificates.good()) as good,
        sending(ca_file=certificates.ca_file, allow_http=False) as sender,
    ):
        url = good.at(certificates.NAME)
        outcomes = [sender.send(outgoing(url, b"x" * 100_000)) for _ in range(3)]
        assert good.connections == 1
        assert good.requests[2].body == b"x" * 100_000
    assert [(one.status, one.body) for one in outcomes] == [(200, b"ok")] * 3


def test_tls_to_an_address_needs_a_certificate_for_it(certificates: Certificates):
    with sending(ca_file=certificates.ca_file) as sender:
        with receiver(answering(), tls=certificates.good("127.0.0.1")) as good:
            assert sender.send(outgoing(good.url)).status == 204
        with receiver(answering(), tls=certificates.good()) as wrong:
            assert sender.send(outgoing(wrong.url)).error == "tls"


@pytest.mark.parametrize("bad", ["wrong_name", "unknown_authority", "expired"])
def test_a_certificate_that_is_not_right_gets_no_request(certificates: Certificates, bad: str):
    with (
        receiver(answering(), tls=getattr(certificates, bad)()) as wrong,
        sending(ca_file=certificates.ca_file) as sender,
    ):
        outcome = sender.send(outgoing(wrong.at(certificates.NAME)))
        assert wrong.requests == []
    assert (outcome.status, outcome.error, outcome.ours) == (None, "tls", False)
    assert "certificate" in outcome.message


def test_what_does_not_speak_tls_is_said_to_be_so(certificates: Certificates):
    dripping_record = receivers.saying_without_end(b"\x16\x03\x03\x40\x00", b"\x02", 0.05)
    with sending(ca_file=certificates.ca_file, connect_timeout_s=0.5) as sender:
        for behaviour, error in (
            (saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "tls"),
            (hanging_up("at once"), "hung_up"),
            (hanging_up("amid the request"), "hung_up"),
            (receivers.deaf, "connect_timeout"),
            (dripping_record, "connect_timeout"),
        ):
            with receiver(behaviour_of_bytes(behaviour)) as plain:
                url = plain.at(certificates.NAME).replace("http:", "https:")
                assert sender.send(outgoing(url)).error == error


def behaviour_of_bytes(behaviour: receivers.Behaviour) -> receivers.Behaviour:
    """The same for a connection over which no HTTP request comes."""

    def behave(talk: receivers.Talk) -> None:
        talk.request = lambda: None
        behaviour(talk)

    return behave


@pytest.mark.parametrize("behaviour", [receivers.DRIPPING_HEADERS, receivers.silent])
def test_the_deadline_holds_over_tls_too(
    certificates: Certificates, behaviour: receivers.Behaviour
):
    with (
        receiver(behaviour, tls=certificates.good()) as slow,
        sending(ca_file=certificates.ca_file, timeout_s=1.0) as sender,
    ):
        assert sender.send(outgoing(slow.at(certificates.NAME))).error == "timeout"


def test_many_threads_share_a_sender(sender: WebhookSender):
    with receiver(answering(200, {}, b"ok")) as good, ThreadPoolExecutor(20) as threads:
        bodies = [str(number).encode() for number in range(1000)]
        outcomes = list(threads.map(lambda body: sender.send(outgoing(good.url, body)), bodies))
        assert {(one.status, one.body) for one in outcomes} == {(200, b"ok")}
        assert sorted(one.body for one in good.requests) == sorted(bodies)
        assert good.connections <= 20


def test_one_receiver_that_hangs_does_not_hold_up_another():
    with (
        receiver(receivers.silent) as bad,
        receiver(answering()) as good,
        sending(timeout_s=3600) as sender,
        ThreadPoolExecutor(20) as threads,
    ):
        hanging = [threads.submit(sender.send, outgoing(bad.url)) for _ in range(10)]
        bad.received(10)
        assert all(sender.send(outgoing(good.url)).status == 204 for _ in range(50))
        assert not any(future.done() for future in hanging)
        bad.over.set()


def test_a_name_server_that_hangs_is_not_waited_for_and_not_the_endpoints_fault(
    caplog: pytest.LogCaptureFixture,
):
    over = threading.Event()
    with sending(resolve=lambda _: over.wait() and [], connect_timeout_s=0.2) as sender:
        try:
            outcome = sender.send(outgoing("http://receiver.test/"))
        finally:
            over.set()
    assert (outcome.status, outcome.error, outcome.ours) == (None, "ours", True)


def test_names_that_cannot_be_looked_up_are_told_from_a_resolver_that_is_gone():
    def knows_what_is_not_there(name: str) -> list[str]:
        if name.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    def gone(_name: str) -> list[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    def no_such_name(_name: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    for resolve, ours in ((knows_what_is_not_there, False), (gone, True), (no_such_name, False)):
        with sending(resolve=resolve) as sender:
            outcome = sender.send(outgoing("http://receiver.test/"))
        assert (outcome.error, outcome.ours) == ("ours" if ours else "dns", ours)


def test_a_name_is_looked_up_once_for_many_requests():
    asked: list[str] = []

    def resolve(name: str) -> list[str]:
        asked.append(name)
        time.sleep(0.05)  # long enough for the others to come
        return ["127.0.0.1"]

    with (
        receiver(answering()) as good,
        sending(resolve=resolve) as sender,
        ThreadPoolExecutor(10) as threads,
    ):
        url = good.at("receiver.test")
        outcomes = list(threads.map(lambda _: sender.send(outgoing(url)), range(50)))
    assert {one.status for one in outcomes} == {204}
    assert asked == ["receiver.test"]


def test_a_bug_in_the_sender_is_ours_and_logged(caplog: pytest.LogCaptureFixture):
    def broken(_name: str) -> Any:
        return [object()]

    with sending(resolve=broken) as sender, caplog.at_level(logging.ERROR):
        outcome = sender.send(outgoing("http://receiver.test/"))
    assert (outcome.error, outcome.ours) == ("ours", True)
    assert "could not be sent" in caplog.text


def test_closing_lets_go_of_connections_and_sending_goes_on(sender: WebhookSender):
    with receiver(answering()) as good:
        sender.send(outgoing(good.url))
        sender.close()
        assert sender.send(outgoing(good.url)).status == 204
        assert good.connections == 2


GREENLETS = """
import sys
from gevent import monkey
monkey.patch_all()
import gevent
import webhook_receiver as receivers
from test_webhook_sender import outgoing, sending
from webhook_receiver import Certificates, answering, receiver
from pathlib import Path

certificates = Certificates(Path(sys.argv[1]))
dripping = receivers.saying_without_end(b"HTTP/1.1 200 OK\\r\\nX-Drip: ", b"x", every_s=0.05)
with (
    receiver(answering(200, {}, b"ok")) as good,
    receiver(answering(), tls=certificates.good()) as secret,
    receiver(dripping) as drips,
    receiver(dripping, tls=certificates.good()) as secretly_drips,
    receiver(receivers.silent, tls=None) as silent,
    sending(timeout_s=2.0, connect_timeout_s=2.0, ca_file=certificates.ca_file) as sender,
):
    plain = [gevent.spawn(sender.send, outgoing(good.url)) for _ in range(100)]
    tls = [gevent.spawn(sender.send, outgoing(secret.at(certificates.NAME))) for _ in range(20)]
    handshakes = [
        gevent.spawn(sender.send, outgoing(silent.at("x.test").replace("http:", "https:")))
    ]
    slow = [gevent.spawn(sender.send, outgoing(one.at(certificates.NAME)))
            for one in (drips, secretly_drips) for _ in range(5)]
    gevent.joinall([*plain, *tls, *handshakes, *slow])
    for group in (plain, tls, handshakes, slow):
        print(sorted({(one.value.status, one.value.error) for one in group}))
    again = [sender.send(outgoing(secret.at(certificates.NAME))) for _ in range(3)]
    print({one.status for one in again}, secret.connections <= 20)
"""


def test_greenlets_share_a_sender_as_threads_do(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", GREENLETS, str(tmp_path)],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "[(200, None)]",
        "[(204, None)]",
        "[(None, 'connect_timeout')]",
        "[(None, 'timeout')]",
        "{204} True",
    ], done.stderr
