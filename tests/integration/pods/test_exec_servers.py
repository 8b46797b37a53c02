"""The exec driver before servers that say what no API server should, or say it oddly."""

import base64
import json
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha1
from pathlib import Path

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes.client import ApiClient, Configuration
from webhook_receiver import (
    DRIPPING_HEADERS,
    ENDLESS_HEADERS,
    GARBAGE,
    Behaviour,
    Talk,
    answering,
    deaf,
    hanging_up,
    receiver,
    saying,
    silent,
    unaccepting,
)

from live_stack import wait_for
from rdev.adapters.workspaces.kubernetes.api import Api, ApiRefused
from rdev.adapters.workspaces.kubernetes.exec import STDERR, STDOUT, Exec, Execs
from rdev.adapters.workspaces.kubernetes.exec_status import ExecEnded, ExecStatus
from rdev.adapters.workspaces.kubernetes.pod_ref import PodRef
from rdev.errors import WorkspaceUnavailable

LONG_S = 30
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
SUCCESS = b"\x03" + json.dumps({"status": "Success"}).encode()
REF = PodRef("projects", "pod-0", "", "workspace", "")


def frame(opcode: int, data: bytes = b"", *, fin: bool = True) -> bytes:
    size = len(data)
    if size < 126:
        length = bytes([size])
    elif size < 1 << 16:
        length = b"\x7e" + struct.pack("!H", size)
    else:
        length = b"\x7f" + struct.pack("!Q", size)
    return bytes([opcode | fin << 7]) + length + data


def accepted(talk: Talk, protocol: str | None = V5) -> bytes:
    """The answer to the handshake that comes next."""
    request = talk.request()
    assert request is not None
    key = request.headers["sec-websocket-key"].encode()
    accept = base64.b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
    lines.append(b"Sec-WebSocket-Accept: " + accept)
    if protocol:
        lines.append(b"Sec-WebSocket-Protocol: " + protocol.encode())
    return b"\r\n".join([*lines, b"", b""])


def telling(*frames: bytes, stay: bool = False) -> Behaviour:
    """These frames after the handshake, in one piece; then the end, or not."""

    def behave(talk: Talk) -> None:
        talk.send(accepted(talk) + b"".join(frames))
        if stay:
            talk.pause(3600)

    return behave


def sent_to(talk: Talk) -> tuple[int, bytes]:
    """The next frame of the client's."""

    def take(size: int) -> bytes:
        while len(talk.unread) < size:
            data = talk.sock.recv(65536)
            if not data:
                raise ConnectionResetError
            talk.unread += data
        taken, talk.unread = talk.unread[:size], talk.unread[size:]
        return taken

    first, second = take(2)
    assert second & 0x80, "a client masks"
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", take(2))
    mask, data = take(4), take(size)
    return first & 0xF, bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


def configured(url: str) -> Configuration:
    made = Configuration()
    made.host = url
    made.api_key["BearerToken"] = "Bearer secret"
    made.proxy = None
    return made


@contextmanager
def execs_at(url: str, api: bool = False, **options: object) -> Iterator[Execs]:
    configuration = configured(url)
    timing = {key: options.pop(key) for key in list(options) if key.endswith("_s")}
    for name, value in options.items():
        setattr(configuration, name, value)
    execs = Execs(lambda: ApiClient(configuration), None, **timing)
    try:
        yield execs
    finally:
        execs.close()


@pytest.fixture
def opened() -> Iterator[Callable[..., Exec]]:
    """An exec on a server that behaves like this."""
    with ExitStack() as stack:

        def open_(behaviour: Behaviour, **timing: float) -> Exec:
            server = stack.enter_context(receiver(behaviour))
            execs = stack.enter_context(execs_at(server.at(server.host, ""), **timing))
            return stack.enter_context(execs.open(REF, ["true"]))

        yield open_


def all_of(running: Exec) -> list[tuple[int, bytes]]:
    """What comes until the end; that is the last."""
    got: list = []
    while True:
        try:
            came = running.receive(LONG_S)
        except (ExecEnded, WorkspaceUnavailable) as exc:
            return [*got, exc]
        assert came is not None, "nothing more came, and no end"
        got.append(came)


def test_text_is_bytes_too_and_what_says_nothing_is_nothing(opened):
    running = opened(
        telling(
            *(frame(BINARY, b"\x01"), frame(TEXT, b""), frame(BINARY, b"")),
            *(frame(TEXT, b"\x01not \xff\xfe UTF-8"), frame(BINARY, b"\x02binary\x00")),
            *(frame(BINARY, b"\x04{}"), frame(BINARY, b"\x09who"), frame(PONG, b"unasked")),
            frame(BINARY, SUCCESS),
        )
    )
    *came, end = all_of(running)
    assert came == [(STDOUT, b"not \xff\xfe UTF-8"), (STDERR, b"binary\x00")]
    assert end.status == ExecStatus(0)


def test_a_message_in_parts_is_handed_on_in_parts(opened):
    running = opened(
        telling(
            *(frame(BINARY, b"", fin=False), frame(CONT, b"\x02", fin=False)),
            *(frame(CONT, b"one", fin=False), frame(PING, b"x"), frame(CONT, b"two")),
            *(frame(TEXT, SUCCESS[:5], fin=False), frame(CONT, SUCCESS[5:])),
        )
    )
    *came, end = all_of(running)
    assert came == [(STDERR, b"one"), (STDERR, b"two")]
    assert end.status == ExecStatus(0)


def test_the_servers_end_of_a_stream_is_no_output(opened):
    running = opened(telling(frame(BINARY, b"\xff\x01"), frame(BINARY, SUCCESS)))
    (end,) = all_of(running)
    assert end.status == ExecStatus(0)


def test_a_status_in_two_messages_is_one_status(opened):
    first, second = frame(BINARY, SUCCESS[:9]), frame(BINARY, b"\x03" + SUCCESS[9:])
    (end,) = all_of(opened(telling(first, frame(BINARY, b"\x03"), second)))
    assert end.status == ExecStatus(0)


def test_output_behind_the_status_is_not_lost(opened):
    said = frame(BINARY, SUCCESS) + frame(BINARY, b"\x01late")
    *came, end = all_of(opened(telling(said, frame(CLOSE, struct.pack("!H", 1000)))))
    assert came == [(STDOUT, b"late")]
    assert end.status == ExecStatus(0)


def test_a_connection_that_stays_open_after_the_status_is_over_all_the_same(opened):
    (end,) = all_of(opened(telling(frame(BINARY, SUCCESS), stay=True)))
    assert end.status == ExecStatus(0)


@pytest.mark.parametrize(
    ("farewell", "why"),
    [
        (b"", "hung up"),
        (frame(CLOSE), "closed it"),
        (frame(CLOSE, struct.pack("!H", 1000)), "closed it with 1000"),
        (frame(CLOSE, struct.pack("!H", 1011) + b"going down"), "closed it with 1011 going down"),
        (frame(BINARY, b"\x03garbage") + frame(CLOSE), "no Status"),
        (frame(BINARY, SUCCESS)[:-1], "hung up"),
        (frame(BINARY, b"\x03" + b"x" * 500_000) + frame(CLOSE), "no Status"),
        (bytes([0x82, 0x7F]) + struct.pack("!Q", 1 << 40), "frame of 1099511627776 bytes"),
        (frame(CONT, b"\x01of nothing"), "no message"),
        (frame(0xB, b"?"), "protocol"),
        (b"HTTP/1.1 200 OK\r\n\r\n" * 9, "protocol"),
    ],
)
def test_an_end_without_a_status_is_not_known(opened, farewell, why):
    *came, end = all_of(opened(telling(frame(BINARY, b"\x01out"), farewell)))
    assert came == [(STDOUT, b"out")]
    assert isinstance(end, WorkspaceUnavailable)
    assert "not known; it may still run" in str(end)
    assert why in str(end)


@settings(max_examples=200, deadline=None)
@given(garbage=st.binary(max_size=300), status=st.booleans())
def test_garbage_is_never_a_success(garbage, status):
    last = frame(BINARY, SUCCESS) if status else b""
    with (
        receiver(telling(garbage, last)) as server,
        execs_at(server.at(server.host, "")) as execs,
        execs.open(REF, ["true"]) as running,
    ):
        end = all_of(running)[-1]
    if isinstance(end, ExecEnded) and end.status.exit_code == 0:
        assert status


def test_what_comes_with_the_handshake_is_not_lost_and_dripping_is_no_matter(opened):
    def behave(talk: Talk) -> None:
        for byte in accepted(talk) + frame(BINARY, b"\x01slow") + frame(BINARY, SUCCESS):
            talk.send(bytes([byte]))

    *came, end = all_of(opened(behave))
    assert came == [(STDOUT, b"slow")]
    assert end.status == ExecStatus(0)


def test_waiting_in_the_middle_of_a_frame_loses_nothing(opened):
    said, go_on = frame(BINARY, b"\x01" + b"x" * 1000), threading.Event()

    def behave(talk: Talk) -> None:
        talk.send(accepted(talk) + said[:500])
        go_on.wait(LONG_S)
        talk.send(said[500:] + frame(BINARY, SUCCESS))

    running = opened(behave)
    assert running.receive(0.1) is None
    assert running.receive(0.1) is None
    go_on.set()
    *came, end = all_of(running)
    assert came == [(STDOUT, b"x" * 1000)]
    assert end.status == ExecStatus(0)


def test_a_ping_is_answered_and_an_end_is_said(opened):
    heard = []

    def behave(talk: Talk) -> None:
        talk.send(accepted(talk) + frame(PING, b"there?"))
        heard.append(sent_to(talk))
        talk.send(frame(BINARY, SUCCESS) + frame(CLOSE, struct.pack("!H", 1000)))
        heard.append(sent_to(talk))
        talk.send(b"")

    (end,) = all_of(opened(behave))
    assert end.status == ExecStatus(0)
    wait_for(lambda: len(heard) == 2)
    assert heard == [(PONG, b"there?"), (CLOSE, struct.pack("!H", 1000))]


def test_what_is_sent_goes_in_messages_of_bounded_size_and_ends_where_it_should(opened):
    heard: list[tuple[int, bytes]] = []
    data = bytes(range(256)) * 400

    def behave(talk: Talk) -> None:
        talk.send(accepted(talk))
        while (CLOSE, b"\x03\xe8") not in heard:
            heard.append(sent_to(talk))

    running = opened(behave)
    running.send(b"")
    running.send(data)
    assert running.close_stdin()
    running.close()
    wait_for(lambda: heard[-1:] == [(CLOSE, b"\x03\xe8")])
    *messages, ended, closed = heard
    assert {opcode for opcode, _ in messages} == {BINARY}
    assert max(len(each) for _, each in messages) <= 32769
    assert b"".join(each[1:] for _, each in messages) == data
    assert {each[0] for _, each in messages} == {0}
    assert (ended, closed) == ((BINARY, b"\xff\x00"), (CLOSE, b"\x03\xe8"))


@pytest.mark.parametrize("nothing", [frame(PING, b"x"), frame(BINARY, b"\x01"), frame(PONG)])
def test_a_server_that_says_nothing_without_end_is_not_listened_to_without_end(opened, nothing):
    def behave(talk: Talk) -> None:
        talk.send(accepted(talk))
        while True:
            talk.send(nothing * 1000)

    running = opened(behave)
    assert running.receive(0.1) is None
    assert running.receive(0.1) is None


# --- handshakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (silent, "no answer within 0.3 s"),
        (deaf, "no answer within 0.3 s"),
        (DRIPPING_HEADERS, "no answer within 0.3 s"),
        (ENDLESS_HEADERS, "answer is too long"),
        (GARBAGE, "cannot be entered"),
        (hanging_up("after the request"), "cannot be entered"),
        (hanging_up("amid the head", reset=True), "cannot be entered"),
        (
            saying(b"HTTP/1.1 500 Bad\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 99999),
            "too long",
        ),
        (answering(500, body=b"an  <b>LB</b>\nis down"), "failed: an <b>LB</b> is down"),
        (answering(503), "failed: Something"),
        (answering(200), "200"),
        (lambda talk: talk.send(accepted(talk, "v1.channel.k8s.io")), "Invalid WebSocket Header"),
        (lambda talk: talk.send(accepted(talk, None)), "Invalid WebSocket Header"),
    ],
)
def test_a_handshake_that_fails_says_why_within_its_time(behaviour, said):
    with (
        receiver(behaviour) as server,
        execs_at(server.at(server.host, ""), connect_s=0.3) as execs,
        pytest.raises(WorkspaceUnavailable) as refused,
    ):
        execs.open(REF, ["true"])
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_port_on_which_nobody_answers_is_not_waited_for_for_ever():
    with (
        unaccepting() as url,
        execs_at(url.removesuffix("/hook"), connect_s=0.3) as execs,
        pytest.raises(WorkspaceUnavailable, match="no answer within"),
    ):
        execs.open(REF, ["true"])


def test_a_node_that_is_silent_does_not_count_against_the_api_server():
    """Pods on other nodes are reached through it all the same."""
    with receiver(silent) as server, ExitStack() as stack:
        configuration = configured(server.at(server.host, ""))
        api = Api(lambda: ApiClient(configuration), breaker_failures=2, breaker_s=LONG_S)
        stack.callback(api.close)
        execs = Execs(lambda: ApiClient(configuration), api, connect_s=0.3)
        stack.callback(execs.close)
        for _ in range(3):
            with pytest.raises(WorkspaceUnavailable, match="no answer within"):
                execs.open(REF, ["true"])
        assert api.breaker == "closed"


def test_a_refused_connection_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (
        execs_at(f"http://127.0.0.1:{port}") as execs,
        pytest.raises(WorkspaceUnavailable, match="refused"),
    ):
        execs.open(REF, ["true"])


def test_the_token_is_not_taken_elsewhere():
    with receiver(answering(204)) as elsewhere:
        redirect = answering(302, {"Location": elsewhere.url.replace("http", "ws")})
        with receiver(redirect) as server, execs_at(server.at(server.host, "")) as execs:
            with pytest.raises(WorkspaceUnavailable, match="cannot be entered"):
                execs.open(REF, ["true"])
            assert len(server.requests) == 1
        assert elsewhere.connections == 0


def test_what_is_asked_names_the_pod_its_container_and_the_argv_as_bytes():
    with (
        receiver(answering(404)) as server,
        execs_at(server.at(server.host, "/base")) as execs,
        pytest.raises(ApiRefused),
    ):
        execs.open(PodRef("n s", "p", "", "c&d", ""), ["sh", "-c", "a&b =\n\udcff"])
    (request,) = server.requests
    assert request.line == (
        "GET /base/api/v1/namespaces/n%20s/pods/p/exec?container=c%26d&stdin=true&stdout=true"
        "&stderr=true&command=sh&command=-c&command=a%26b+%3D%0A%FF HTTP/1.1"
    )
    assert request.headers["sec-websocket-protocol"] == f"{V5},{V4}"
    assert request.headers["authorization"] == "Bearer secret"


def test_the_clients_token_is_renewed_and_asked_for_anew_when_it_is_refused():
    tokens = iter(["first", "second"])
    made = []

    def client() -> ApiClient:
        configuration = configured(server.at(server.host, ""))
        configuration.refresh_api_key_hook = lambda c: c.api_key.update(BearerToken=next(tokens))
        made.append(configuration)
        return ApiClient(configuration)

    with receiver(answering(401)) as server:
        execs = Execs(client, None)
        for _ in range(2):
            with pytest.raises(ApiRefused, match="401"):
                execs.open(REF, ["true"])
    assert [each.headers["authorization"] for each in server.requests] == ["first", "second"]
    assert len(made) == 2


@pytest.mark.parametrize("why", [OSError("no file"), RuntimeError("plugin failed")])
def test_credentials_that_cannot_be_had_are_said(why):
    def client() -> ApiClient:
        configuration = configured("http://127.0.0.1:1")

        def hook(_: Configuration) -> None:
            raise why

        configuration.refresh_api_key_hook = hook
        return ApiClient(configuration)

    with pytest.raises(WorkspaceUnavailable, match=f"credentials.*{why}"):
        Execs(client, None).open(REF, ["true"])
    with pytest.raises(WorkspaceUnavailable, match=f"credentials.*{why}"):
        Api(client).get("/version")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def served(authority: trustme.CA) -> ssl.SSLContext:
    """As 127.0.0.1, to those who have a certificate of this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "api.test").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
def shown(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    """What a client has to have."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own = authority.issue_cert("client.test")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    for blob in own.cert_chain_pems:
        blob.write_to_path(tmp_path / "cert.pem", append=True)
    return {
        "ssl_ca_cert": str(tmp_path / "ca.pem"),
        "cert_file": str(tmp_path / "cert.pem"),
        "key_file": str(tmp_path / "key.pem"),
    }


@pytest.mark.parametrize("name", [None, "api.test"])
def test_over_tls_both_show_their_certificates(served, shown, name):
    big = b"x" * 200_000
    pieces = [frame(BINARY, b"\x01" + big[at : at + 32768]) for at in range(0, len(big), 32768)]
    behave = telling(*pieces, frame(BINARY, SUCCESS))
    with receiver(behave, tls=served) as server:
        url = server.at(server.host, "")
        with execs_at(url, **shown, tls_server_name=name) as execs, execs.open(REF, []) as running:
            *came, end = all_of(running)
    assert b"".join(each for _, each in came) == big
    assert end.status == ExecStatus(0)


def test_over_tls_both_ways_at_once_nothing_is_mixed_up(served, shown):
    data, done = bytes(range(256)) * 4096, threading.Event()

    def echo(talk: Talk) -> None:
        talk.send(accepted(talk))
        while (sent := sent_to(talk))[1] != b"\xff\x00":
            if sent[0] == BINARY:
                talk.send(frame(BINARY, b"\x01" + sent[1][1:]))
        talk.send(frame(BINARY, SUCCESS) + frame(CLOSE))
        with suppress(ConnectionResetError):  # it hangs up, and says so where there is room
            while sent_to(talk)[0] != CLOSE:
                pass  # a ping that is left unread would take back what was sent
        done.set()

    with receiver(echo, tls=served) as server:
        url = server.at(server.host, "")
        timing = {"ping_s": 0.01, "silence_s": LONG_S}
        with execs_at(url, **shown, **timing) as execs, execs.open(REF, []) as running:

            def feed() -> None:
                running.send(data, LONG_S)
                running.close_stdin()

            feeding = threading.Thread(target=feed)
            feeding.start()
            *came, end = all_of(running)
            feeding.join()
            assert done.wait(LONG_S)
    assert isinstance(end, ExecEnded), end
    assert b"".join(each for _, each in came) == data


@pytest.mark.parametrize(
    "wrong",
    [
        {"ssl_ca_cert": None},
        {"tls_server_name": "another.test"},
        {"cert_file": None, "key_file": None},
        {"ssl_ca_cert": "/nowhere/ca.pem"},
    ],
)
def test_over_tls_a_stranger_is_not_talked_to(served, shown, wrong):
    with (
        receiver(telling(frame(BINARY, SUCCESS)), tls=served) as server,
        execs_at(server.at(server.host, ""), **{**shown, **wrong}) as execs,
        pytest.raises(WorkspaceUnavailable, match="cannot be entered"),
    ):
        execs.open(REF, ["true"])
    assert not server.requests


def test_a_certificate_is_not_looked_at_where_the_kubeconfig_says_so(served, shown):
    with receiver(telling(frame(BINARY, SUCCESS)), tls=served) as server:
        url = server.at(server.host, "")
        options = {**shown, "ssl_ca_cert": None, "verify_ssl": False}
        with execs_at(url, **options) as execs, execs.open(REF, ["true"]) as running:
            (end,) = all_of(running)
    assert end.status == ExecStatus(0)


def tunnelling(talk: Talk) -> None:
    """A proxy, for one connection."""
    request = talk.request()
    assert request is not None
    host, port = request.line.split()[1].split(":")
    with socket.create_connection((host, int(port))) as beyond:
        talk.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=_pump, args=(beyond, talk.sock))
        back.start()
        _pump(talk.sock, beyond)
        back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


def test_a_proxy_is_gone_through_as_the_client_would(served, shown):
    with (
        receiver(telling(frame(BINARY, SUCCESS)), tls=served) as server,
        receiver(tunnelling) as proxy,
    ):
        through = {
            "proxy": proxy.at(proxy.host, ""),
            "proxy_headers": {"proxy-authorization": "Basic dXNlcjpwYXNz"},
            "no_proxy": "elsewhere.test, .internal",
        }
        with (
            execs_at(server.at(server.host, ""), **shown, **through) as execs,
            execs.open(REF, ["true"]) as running,
        ):
            (end,) = all_of(running)
        (asked,) = proxy.requests
    assert end.status == ExecStatus(0)
    assert asked.line == f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"
    assert asked.headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"


def test_a_node_that_fails_does_not_close_the_way_to_the_others():
    said = {"kind": "Status", "status": "Failure", "message": "error dialing backend", "code": 500}
    with receiver(answering(500, body=json.dumps(said).encode())) as server:
        client = lambda: ApiClient(configured(server.at(server.host, "")))  # noqa: E731
        api = Api(client, breaker_failures=2)
        execs = Execs(client, api)
        for _ in range(4):
            with pytest.raises(ApiRefused, match="error dialing backend"):
                execs.open(REF, ["true"])
        api.close()
        execs.close()


def test_the_driver_and_the_client_are_imported_at_the_first_exec():
    line = (
        "import sys, rdev.adapters.workspaces.kubernetes.exec as e; e.Execs(None, None);"
        "sys.exit(any(name.split('.')[0] in ('websocket', 'kubernetes', 'urllib3')"
        " for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", line], check=False).returncode == 0
