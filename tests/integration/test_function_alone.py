"""A function alone, as the image serves it, and what strange clients get of it."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest
import yaml

from free_port import free_port
from http_client import Http
from live_stack import wait_for
from rdev.config import SOURCE_ROOT
from rdev.platform.function import GRACE_S

TIMEOUT_S = 1.0
AT_ONCE = 16
HELLO = b"GET /health HTTP/1.1\r\nHost: x\r\n"


@dataclass(frozen=True)
class Alone:
    port: int
    process: "subprocess.Popen[bytes]"
    log: Path


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of the function `system`, which needs no store to say that it lives."""
    with alone("system", tmp_path_factory.mktemp("alone")) as function:
        yield function.port


@contextmanager
def alone(target: str, folder: Path, timeout_s: float = TIMEOUT_S) -> Iterator[Alone]:
    with begun(target, folder, timeout_s) as function:
        wait_for(lambda: _answers(function.port, function.process, function.log))
        yield function


@contextmanager
def begun(target: str, folder: Path, timeout_s: float = TIMEOUT_S) -> Iterator[Alone]:
    chosen = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "FUNCTION_TARGET": target,
        "PORT": str(chosen),
        "RDEV_REQUEST_TIMEOUT_S": str(timeout_s),
    }
    command = [sys.executable, "-m", "rdev.platform.function"]
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=out, stderr=out)
    try:
        yield Alone(chosen, process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return Http(port).get("/health").status == 200
    except OSError:
        return False


def _awaits(pid: int, number: signal.Signals) -> bool:
    """Whether a process that is stopped was sent a signal."""
    return _has(pid, "ShdPnd", number)


def _has(pid: int, which: str, number: signal.Signals) -> bool:
    """Whether a signal is among these of a process's (see proc(5), /proc/pid/status)."""
    status = Path(f"/proc/{pid}/status").read_text()
    signals = next(line for line in status.splitlines() if line.startswith(f"{which}:"))
    return bool(int(signals.split()[1], 16) >> number - 1 & 1)


def _suspend(worker: psutil.Process) -> None:
    """From the return on it hears of no signal: of two that come at once the other goes first."""
    worker.suspend()
    wait_for(lambda: worker.status() == psutil.STATUS_STOPPED)


def _leave_descriptors(worker: psutil.Process, count: int) -> None:
    """Let a process have as many more than it has."""
    most = worker.num_fds() + count
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def _many_who_ask(port: int) -> Iterator[list[BaseException]]:
    """Each over one connection after the other, until it is refused one; and what else befell
    them. They are at it when this begins."""
    answers, befell = list[bytes](), list[BaseException]()

    def ask() -> None:
        try:
            while True:
                with connected(port) as connection:
                    connection.sendall(HELLO + b"Connection: close\r\n\r\n")
                    answers.append(connection.recv(65536))
                assert answers[-1].startswith(b"HTTP/1.1 200 ")
        except ConnectionRefusedError:
            return
        except (OSError, AssertionError) as exc:
            befell.append(exc)

    asking = [threading.Thread(target=ask) for _ in range(AT_ONCE)]
    for each in asking:
        each.start()
    try:
        wait_for(lambda: len(answers) > 10 * AT_ONCE)
        yield befell
    finally:
        for each in asking:
            each.join(60)


def _refuses(port: int) -> bool:
    try:
        connected(port).close()
    except ConnectionRefusedError:
        return True
    return False


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def said(port: int, request: bytes) -> bytes:
    with connected(port) as connection:
        connection.sendall(request)
        answer = b""
        while data := connection.recv(65536):
            answer += data
        return answer


def test_headers_that_drip_are_cut_off(port: int) -> None:
    with connected(port) as connection:
        connection.settimeout(0.1)
        connection.sendall(HELLO + b"X: ")

        def over() -> bool:
            try:
                connection.sendall(b"a")
                return connection.recv(100) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_for(over)


def test_clients_that_say_nothing_keep_nobody_waiting(port: int) -> None:
    """They outnumber the threads by far: no thread waits for them."""
    silent = [connected(port) for _ in range(10 * AT_ONCE)]
    try:
        assert Http(port).get("/health").status == 200
    finally:
        for connection in silent:
            connection.close()


def test_clients_that_do_not_close_keep_nobody_waiting(port: int) -> None:
    """Who was answered, and told that its connection is over, has some time to close it."""
    with ExitStack() as stack:
        answered = [stack.enter_context(connected(port)) for _ in range(40)]
        for connection in answered:
            connection.sendall(HELLO + b"Connection: close\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert Http(port).get("/health").status == 200


def test_a_client_that_sends_on_gets_its_whole_answer(port: int) -> None:
    """Such as one with a body for which nobody waited."""
    body = 20 << 20
    with connected(port) as connection:
        connection.sendall(b"POST /health HTTP/1.1\r\nHost: x\r\n")
        connection.sendall(b"Content-Length: %d\r\n\r\n" % body)
        with suppress(ConnectionError):
            connection.sendall(b"a" * (1 << 20))
        answer = b""
        while data := connection.recv(65536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 4")
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % len(rest) in head + b"\r\n"


@pytest.mark.parametrize("target", ["events", "system"])
def test_whom_no_descriptor_is_left_for_waits_and_ends_nobody(target: str, tmp_path: Path) -> None:
    with alone(target, tmp_path, timeout_s=60) as function, ExitStack() as stack:
        (worker,) = psutil.Process(function.process.pid).children()
        _leave_descriptors(worker, AT_ONCE)
        for _ in range(4 * AT_ONCE):
            stack.enter_context(connected(function.port))
        wait_for(lambda: "Too many open files" in function.log.read_text())
        stack.close()
        assert Http(function.port).get("/health").status == 200
        assert psutil.Process(function.process.pid).children() == [worker]


def test_a_kept_connection_goes_on_after_its_first_request(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        for _ in range(3):
            connection.request("GET", "/health")
            kept = connection.sock
            answer = connection.getresponse()
            answer.read()
            assert (answer.status, connection.sock) == (200, kept)
    finally:
        connection.close()


def test_the_same_limits_hold_as_for_all_functions_together(port: int) -> None:
    close = b"Connection: close\r\n"
    assert said(port, HELLO + b"X: " + b"a" * 8300 + b"\r\n\r\n").startswith(b"HTTP/1.1 431")
    many = b"".join(b"X-%d: a\r\n" % number for number in range(101))
    assert said(port, HELLO + many + b"\r\n").startswith(b"HTTP/1.1 431")
    query = b"GET /health?a=%b HTTP/1.1\r\nHost: x\r\n" % (b"a" * 5000)
    answer = said(port, query + close + b"\r\n")
    assert b'"field": "query"' in answer  # our answer, not the server's


def test_what_is_no_request_is_answered_as_everything_else(port: int) -> None:
    answer = said(port, HELLO + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"X-Content-Type-Options: nosniff\r\n" in answer
    assert b'"code": "BAD_REQUEST"' in answer


@pytest.mark.parametrize("prefix", [b"/elsewhere", b"/health"])
def test_no_client_decides_where_a_function_lies(port: int, prefix: bytes) -> None:
    asked = HELLO + b"SCRIPT_NAME: " + prefix + b"\r\nConnection: close\r\n\r\n"
    assert said(port, asked).startswith(b"HTTP/1.1 200")


def test_only_a_trusted_proxy_says_that_a_request_came_over_tls(port: int) -> None:
    asked = HELLO + b"X-Forwarded-Proto: https\r\nConnection: close\r\n\r\n"
    assert b"Strict-Transport-Security" not in said(port, asked)


@pytest.mark.parametrize("target", ["events", "system"])
def test_a_kept_connection_that_is_idle_does_not_hold_a_function_that_is_to_end(
    target: str, tmp_path: Path
) -> None:
    """Such as a proxy's. It is closed while a request that has begun to arrive is waited for."""
    with alone(target, tmp_path, timeout_s=60) as function:
        kept = HTTPConnection("127.0.0.1", function.port, timeout=60)
        kept.request("GET", "/health")
        kept.getresponse().read()
        with connected(function.port) as begun:
            begun.sendall(HELLO)
            function.process.send_signal(signal.SIGTERM)
            assert kept.sock is not None
            assert kept.sock.recv(1) == b""
            kept.close()
            begun.sendall(b"\r\n")
            assert begun.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert function.process.wait(60) == 0


@pytest.mark.parametrize("target", ["events", "system"])
def test_who_was_connected_as_a_function_was_told_to_end_is_answered(
    target: str, tmp_path: Path
) -> None:
    """Also where nobody had accepted the connection yet, and where it had not asked yet."""
    with alone(target, tmp_path, timeout_s=60) as function, ExitStack() as stack:
        (worker,) = psutil.Process(function.process.pid).children()
        _suspend(worker)
        waiting = [stack.enter_context(connected(function.port)) for _ in range(AT_ONCE)]
        for connection in waiting[::2]:
            connection.sendall(HELLO + b"\r\n")
        function.process.send_signal(signal.SIGTERM)
        wait_for(lambda: _awaits(worker.pid, signal.SIGTERM))
        worker.resume()
        wait_for(lambda: _refuses(function.port))
        for connection in waiting[1::2]:
            connection.sendall(HELLO + b"\r\n")
        for connection in waiting:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            connection.close()
        assert function.process.wait(60) == 0


@pytest.mark.parametrize("target", ["events", "system"])
def test_who_is_connected_as_a_function_that_still_loads_is_told_to_end_is_answered(
    target: str, tmp_path: Path
) -> None:
    with begun(target, tmp_path, timeout_s=60) as function:
        workers = wait_for(lambda: psutil.Process(function.process.pid).children())
        # The last of the signals for which gunicorn's worker sets something.
        wait_for(lambda: _has(workers[0].pid, "SigCgt", signal.SIGABRT))
        with connected(function.port) as connection:
            connection.sendall(HELLO + b"\r\n")
            function.process.send_signal(signal.SIGTERM)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert function.process.wait(60) == 0


def test_who_asks_as_a_function_is_told_to_end_does_not_wait_for_those_who_do_not(
    tmp_path: Path,
) -> None:
    with alone("system", tmp_path, timeout_s=60) as function, ExitStack() as stack:
        (worker,) = psutil.Process(function.process.pid).children()
        _suspend(worker)
        for _ in range(10 * AT_ONCE):
            stack.enter_context(connected(function.port))
        asking = stack.enter_context(connected(function.port))
        asking.sendall(HELLO + b"\r\n")
        function.process.send_signal(signal.SIGTERM)
        wait_for(lambda: _awaits(worker.pid, signal.SIGTERM))
        worker.resume()
        assert asking.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("target", ["events", "system"])
def test_a_function_that_is_told_to_end_while_others_connect_answers_who_is_connected(
    target: str, tmp_path: Path
) -> None:
    befell: list[BaseException] = []
    for _ in range(3):  # it depends on who comes first
        with (
            alone(target, tmp_path, timeout_s=60) as function,
            connected(function.port) as late,
        ):
            with _many_who_ask(function.port) as befell_these:
                function.process.send_signal(signal.SIGTERM)
            befell += befell_these
            late.sendall(HELLO + b"\r\n")
            assert late.recv(65536).startswith(b"HTTP/1.1 200 ")
            late.close()
            assert function.process.wait(60) == 0
            assert "Traceback" not in function.log.read_text()
    # One may come between the last look for one and the end of listening.
    assert len(befell) < AT_ONCE / 4, befell


def test_a_function_without_descriptors_that_is_told_to_end_answers_who_has_one(
    tmp_path: Path,
) -> None:
    with alone("system", tmp_path, timeout_s=60) as function, ExitStack() as stack:
        (worker,) = psutil.Process(function.process.pid).children()
        accepted = stack.enter_context(connected(function.port))
        assert Http(function.port).get("/health").status == 200
        _suspend(worker)
        _leave_descriptors(worker, AT_ONCE)
        for _ in range(4 * AT_ONCE):
            stack.enter_context(connected(function.port))
        function.process.send_signal(signal.SIGTERM)
        wait_for(lambda: _awaits(worker.pid, signal.SIGTERM))
        worker.resume()
        wait_for(lambda: _refuses(function.port))
        accepted.sendall(HELLO + b"\r\n")
        assert accepted.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("target", ["events", "system"])
def test_a_connection_that_never_asks_does_not_hold_a_function_that_is_to_end(
    target: str, tmp_path: Path
) -> None:
    with alone(target, tmp_path, timeout_s=60) as function:
        with connected(function.port) as silent:
            assert Http(function.port).get("/health").status == 200  # so it was accepted before
            told_at = time.monotonic()
            function.process.send_signal(signal.SIGTERM)
            assert silent.recv(1) == b""
            assert time.monotonic() - told_at < GRACE_S  # after which all are cut off
        assert function.process.wait(60) == 0


def checked(port: int) -> int:
    """By compose.yaml's health check."""
    composed = yaml.safe_load((SOURCE_ROOT / "compose.yaml").read_text())
    how, python, *words = composed["services"]["keys"]["healthcheck"]["test"]
    assert (how, python) == ("CMD", "python")
    return subprocess.run(
        [sys.executable, *words],
        env={"PATH": os.environ["PATH"], "PORT": str(port)},
        capture_output=True,
        timeout=60,
        check=False,
    ).returncode


def test_what_takes_requests_is_well_and_what_does_not_is_not(port: int) -> None:
    assert checked(port) == 0
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert checked(silent.getsockname()[1]) == 1
    assert checked(free_port()) == 1


def test_what_answers_with_an_error_is_not_well() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def fail() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 500 Failed\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=fail, daemon=True)
        thread.start()
        assert checked(server.getsockname()[1]) == 1
        thread.join(60)
    assert not thread.is_alive()
