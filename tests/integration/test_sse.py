"""Streams over real HTTP: gunicorn in a process of its own, a real Valkey, plain sockets."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from free_port import free_port
from rdev.adapters.redis.connect import connect
from rdev.adapters.redis.streams import Streams
from rdev.domain.commands import Position
from rdev.domain.events import FINISHED, QUEUED, STARTED, STDOUT
from rdev.platform.stores import Valkey

PLACE = ("demo", "cmd-1")
ENOUGH_S = 30.0
SMALL = 8 * 1024


@pytest.fixture
def streams(redis_url):
    with connect(redis_url) as client:
        yield Streams(client)


class Server:
    """gunicorn on a free port; ended, if need be by force, when the test is over."""

    def __init__(self, folder, redis_url, *, worker="gevent", port=0, **settings):
        self.port = port or free_port()
        env = {f"RDEV_{name.upper()}": str(value) for name, value in settings.items()}
        here = Path(__file__).parent
        argv = ["-c", str(here / "sse_gunicorn.py"), "--chdir", str(here), "-k", worker]
        argv += ["--worker-connections", "12000"]
        argv += ["--threads", "20"] if worker == "gthread" else []
        argv += ["--bind", f"127.0.0.1:{self.port}", "--graceful-timeout", "25", "--timeout", "0"]
        self.log = folder / f"gunicorn-{self.port}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", *argv, "--no-control-socket", "sse_app:app"],
                env={**os.environ, **env, "TEST_REDIS_URL": redis_url},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self):
        deadline = time.monotonic() + ENOUGH_S
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port), 5).close()
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.02)

    def kill(self):
        """End the whole group at once, as kill -9 does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)
        self.process.wait(ENOUGH_S)


@contextmanager
def serving(folder, redis_url, **options):
    server = Server(folder, redis_url, **options)
    try:
        server.wait_ready()
        yield server
    finally:
        server.kill()


class Client:
    """A reader of one stream: headers, then events, by plain sockets."""

    def __init__(self, port, path="/demo/events?stream_id=cmd-1", last_id=None, buffer=None):
        self.socket = socket.socket()
        self.socket.settimeout(ENOUGH_S)
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.connect(("127.0.0.1", port))
        last = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: t\r\n{last}\r\n".encode())
        self._chunks = self.socket.makefile("rb")
        self.ended = False
        self.events = []
        self.comments = 0
        self._text = b""

    def head(self):
        """The response's head; what follows stays for `read`."""
        return b"".join(iter(self._chunks.readline, b"\r\n")).decode()

    def read(self, *, until=lambda client: False):
        """Events as (id, type, data), until the condition or the end of the stream."""
        while not until(self) and not self.ended:
            size = int(self._chunks.readline(), 16)
            self._feed(self._chunks.read(size))
            self._chunks.readline()
            self.ended = size == 0
        return self.events

    def _feed(self, data):
        self._text += data
        *blocks, self._text = self._text.split(b"\n\n")
        for block in blocks:
            if block.startswith(b"id: "):
                fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
                event = (fields["id"], fields["event"], json.loads(fields["data"]))
                self.events.append(event)
            else:
                self.comments += block.startswith(b":")

    def close(self):
        self._chunks.close()
        self.socket.close()

    def text(self):
        return "".join(data["data"] for _, kind, data in self.events if kind == "output")


def finished(client):
    return any(kind == FINISHED for _, kind, _ in client.events)


def test_a_stream_is_flushed_at_once_and_ends_after_the_command(tmp_path, redis_url, streams):
    with serving(tmp_path, redis_url) as server, closing(Client(server.port)) as client:
        head = client.head()
        assert "200 OK" in head
        assert "Content-Type: text/event-stream\r\n" in head
        assert "Cache-Control: no-cache, no-transform" in head
        assert "X-Accel-Buffering: no" in head
        streams.announce(*PLACE, QUEUED, {"n": 1})
        streams.append(*PLACE, STDOUT, Position(), "grüße\n".encode())
        streams.announce(*PLACE, FINISHED, {}, Position(8, 0))
        client.read()
        assert [(i, kind) for i, kind, _ in client.events] == [
            ("0-1", QUEUED),
            ("9-0", "output"),
            ("9-1", FINISHED),
        ]
        assert client.text() == "grüße\n"
        with closing(Client(server.port, last_id="9-1")) as again:
            assert "204 NO CONTENT" in again.head()


def test_heartbeats_come_and_the_stream_ends_at_its_age(tmp_path, redis_url, streams):
    settings = {"sse_heartbeat_s": 0.1, "sse_max_age_s": 1}
    with serving(tmp_path, redis_url, **settings) as server, closing(Client(server.port)) as client:
        client.head()
        client.read()
        assert client.ended
        assert client.comments > 3


@pytest.mark.parametrize("worker", ["gevent", "gthread"])
def test_sigterm_ends_streams_politely(tmp_path, redis_url, worker):
    with serving(tmp_path, redis_url, worker=worker) as server, ExitStack() as stack:
        clients = [stack.enter_context(closing(Client(server.port))) for _ in range(10)]
        for client in clients:
            client.head()
        server.process.terminate()
        for client in clients:
            client.read()
            assert client.ended
        assert server.process.wait(ENOUGH_S) == 0


def test_a_client_goes_on_exactly_after_kill_9_of_the_server(tmp_path, redis_url, streams):
    """Given a writer that never stops; when the server dies again and again; then the client
    that resumes by its last id has each byte once."""
    done = threading.Event()
    written = []

    def write():
        at, number = Position(), 0
        streams.announce(*PLACE, STARTED, {})
        while not done.is_set():
            written.append(f"{number:06}\n")
            at = streams.append(*PLACE, STDOUT, at, written[-1].encode())
            number += 1
            time.sleep(0.0005)
        streams.announce(*PLACE, FINISHED, {}, at)

    writer = threading.Thread(target=write)
    writer.start()
    events, last_id = [], None
    try:
        for _ in range(4):
            with serving(tmp_path, redis_url) as server:
                client = Client(server.port, last_id=last_id)
                client.head()
                client.read(until=lambda c: len(c.events) > 40)
                server.kill()
                client.close()
                events += client.events
                last_id = events[-1][0]
    finally:
        done.set()
        writer.join()
    with serving(tmp_path, redis_url) as server, closing(Client(server.port, last_id=last_id)) as c:
        c.head()
        events += c.read()
    got = "".join(data["data"] for _, kind, data in events if kind == "output")
    assert got == "".join(written)
    assert [kind for _, kind, _ in events if kind != "output"] == [STARTED, FINISHED]


@pytest.mark.parametrize("worker", ["gevent", "gthread"])
def test_who_reads_nothing_is_disconnected_and_slows_nobody(tmp_path, redis_url, streams, worker):
    """Given ten readers, one of which reads nothing; when 20 MB go by; then nine have all of it
    while the tenth hangs, and the tenth is cut off and can resume."""
    piece, count = b"x" * 32_000, 640
    with serving(tmp_path, redis_url, worker=worker, sse_write_timeout_s=2) as server:
        stuck = Client(server.port, buffer=SMALL)
        stuck.head()
        clients = [Client(server.port) for _ in range(9)]
        readers = [threading.Thread(target=c.read, name="reader") for c in clients]
        for client, reader in zip(clients, readers, strict=True):
            client.head()
            reader.start()
        for index in range(count):
            streams.append(*PLACE, STDOUT, Position(index * len(piece), 0), piece)
        streams.announce(*PLACE, FINISHED, {}, Position(count * len(piece), 0))
        for reader in readers:
            reader.join(ENOUGH_S)
        assert [len(c.text()) for c in clients] == [count * len(piece)] * 9
        wait_for_hangup(stuck)
        with pytest.raises((OSError, ValueError)):  # cut off in the middle of a chunk
            stuck.read()
        assert not finished(stuck)
        last_id = stuck.events[-1][0] if stuck.events else None
        with closing(Client(server.port, last_id=last_id)) as again:
            again.head()
            again.read()
            assert len(stuck.text()) + len(again.text()) == count * len(piece)
        for client in (stuck, *clients):
            client.close()
        assert "Traceback" not in server.log.read_text()


def wait_for_hangup(client):
    """Until the server closed its side, without reading anything."""
    import select

    poller = select.poll()
    poller.register(client.socket, select.POLLRDHUP | select.POLLERR)
    assert poller.poll(ENOUGH_S * 1000), "still connected"


def test_two_hundred_readers_of_a_project_get_every_event(tmp_path, redis_url, streams):
    with serving(tmp_path, redis_url) as server, ExitStack() as stack:
        clients = [
            stack.enter_context(closing(Client(server.port, "/demo/events"))) for _ in range(200)
        ]
        for client in clients:
            client.head()
            client.read(until=lambda c: c.comments)
        for number in range(20):
            streams.announce("demo", f"cmd-{number}", QUEUED, {"n": number})
        for client in clients:
            client.read(until=lambda c: len(c.events) == 20)
            assert [data["n"] for _, _, data in client.events] == list(range(20))


def test_streams_stay_open_over_a_restart_of_redis_without_its_data(tmp_path):
    """Given an open stream; when Redis is killed, comes back empty and is filled again from the
    files; then the stream goes on where it was."""
    folder = Path("/tmp") / f"rdev-sse-{os.getpid()}"
    folder.mkdir(mode=0o700)
    store = Valkey(folder, folder / "v.sock")
    with ExitStack() as stack:
        stack.callback(remove, folder)
        process = start(store)
        stack.callback(lambda: (process.kill(), process.wait()))
        server = stack.enter_context(serving(tmp_path, store.url, sse_heartbeat_s=0.2))
        streams = Streams(stack.enter_context(connect(store.url)))
        streams.announce(*PLACE, QUEUED, {})
        streams.append(*PLACE, STDOUT, Position(), b"abc")
        client = stack.enter_context(closing(Client(server.port)))
        client.head()
        client.read(until=lambda c: c.text() == "abc")
        process.kill()
        process.wait()
        beats = client.comments
        client.read(until=lambda c: c.comments > beats + 3)
        remove(folder)
        folder.mkdir(mode=0o700)
        process = start(store)
        streams.append(*PLACE, STDOUT, Position(), b"ab")
        streams.append(*PLACE, STDOUT, Position(2, 0), b"cdef")
        streams.announce(*PLACE, FINISHED, {}, Position(6, 0))
        client.read()
        assert client.text() == "abcdef"
        assert finished(client)


def start(store):
    process = subprocess.Popen(
        store.command(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert store.wait_ready(ENOUGH_S, lambda: process.poll() is None)
    return process


def remove(folder):
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
