"""`rdev` in the shell, against a whole stack that `rdev up` started: real stores, real commands."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from free_port import free_port
from rdev.client import Client, Output, StateChange

DEADLINE_S = 60

pytestmark = [pytest.mark.own_stack, pytest.mark.slow]


class Stack:
    """A running `rdev up`, and `rdev` commands that find it by its client.json."""

    def __init__(self, home: Path, process: subprocess.Popen[bytes]) -> None:
        self.home = home
        self.process = process
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "RDEV_HOME": str(home)}

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "rdev.cli.main", *words]

    def rdev(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.argv(*words),
            input=stdin,
            capture_output=True,
            env=self.env,
            timeout=DEADLINE_S,
            check=False,
        )

    @contextmanager
    def started(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        with subprocess.Popen(
            self.argv(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.env
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def client(self) -> Client:
        access = json.loads((self.home / "client.json").read_text())
        return Client(access["server"], access["api_key"])

    def latest(self) -> str:
        with self.client() as client:
            return next(client.commands("demo")).id

    def functions(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [each for each in children if "functions" in each.cmdline()]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory):
    home = tmp_path_factory.mktemp("stack") / ".rdev"
    port = free_port()
    argv = [sys.executable, "-m", "rdev.cli.main", "up", "--home", str(home), "--port", str(port)]
    with (home.parent / "up.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, cwd=home.parent)
    try:
        _await_ready(home.parent / "up.log", process)
        yield Stack(home, process)
    finally:
        process.terminate()
        process.wait(DEADLINE_S)
        if (home / "postgres").is_symlink():  # as root its data lies elsewhere
            shutil.rmtree((home / "postgres").resolve())


def _await_ready(log: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while b"Ctrl-C ends it" not in log.read_bytes():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_a_command_behaves_as_in_the_local_shell(stack: Stack):
    done = stack.rdev("run", "demo", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_a_million_lines_come_through_whole(stack: Stack):
    done = stack.rdev("run", "demo", "--", "seq", "1", "1000000")
    assert done.returncode == 0
    assert done.stdout == b"".join(b"%d\n" % n for n in range(1, 1_000_001))


def test_any_bytes_come_through_as_they_are(stack: Stack):
    done = stack.rdev("run", "demo", "--", "head -c 3000000 /dev/urandom | tee bytes")
    written = (stack.home / "workspaces/demo/bytes").read_bytes()
    assert len(written) == 3_000_000
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(written).digest()


def test_the_environment_shows_nothing_of_rdevs_own(stack: Stack):
    done = stack.rdev("run", "demo", "--env", "MINE=1", "--", "env")
    names = {line.split(b"=")[0].decode() for line in done.stdout.splitlines()}
    assert names <= {"PATH", "HOME", "LANG", "PWD", "SHLVL", "_", "RDEV_COMMAND_ID", "MINE"}
    assert "MINE" in names


def test_stdin_cwd_and_timeout_reach_the_command(stack: Stack):
    assert stack.rdev("run", "demo", "--stdin", "--", "wc -c", stdin=b"a\0b").stdout == b"3\n"
    large = os.urandom(3_000_000)
    done = stack.rdev("run", "demo", "--stdin", "--", "sha256sum", stdin=large)
    assert done.stdout.split()[0].decode() == hashlib.sha256(large).hexdigest()
    assert stack.rdev("run", "demo", "-i", "--", "head -c 2", stdin=large).stdout == large[:2]
    assert stack.rdev("run", "demo", "--", "mkdir -p sub").returncode == 0
    assert stack.rdev("run", "demo", "--cwd", "sub", "--", "pwd").stdout.endswith(b"/sub\n")
    done = stack.rdev("run", "demo", "--timeout", "0.5", "--", "sleep", "100")
    assert done.returncode == 124


def test_ctrl_c_cancels_the_command_and_shows_its_last_words(stack: Stack):
    line = 'trap "echo bye; exit 0" TERM; echo hi; while :; do sleep 0.05; done'
    with stack.started("run", "demo", "--", line) as process:
        assert process.stdout.read(3) == b"hi\n"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out) == (130, b"bye\n")
    with stack.client() as client:
        assert client.command("demo", stack.latest()).status == "cancelled"


def test_a_reader_that_has_enough_ends_the_command(stack: Stack):
    with stack.started("run", "demo", "--", "yes") as process:
        assert process.stdout.read(2) == b"y\n"
        process.stdout.close()
        assert process.wait(DEADLINE_S) == -signal.SIGPIPE
        assert process.stderr.read() == b""
    with stack.client() as client:
        list(client.events("demo", stack.latest()))
        assert client.command("demo", stack.latest()).status == "cancelled"


def test_a_stream_outlives_the_functions_process(stack: Stack):
    line = "for i in $(seq 1 40); do echo line $i; echo err $i >&2; sleep 0.1; done"
    with stack.started("run", "demo", "--", line) as process:
        assert process.stdout.readline() == b"line 1\n"
        for each in stack.functions():
            each.kill()
        out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert out == b"".join(b"line %d\n" % n for n in range(2, 41))
    assert err == b"".join(b"err %d\n" % n for n in range(1, 41))


def test_logs_show_a_detached_command_now_and_to_its_end(stack: Stack):
    line = "echo now; while [ ! -e go ]; do sleep 0.05; done; echo then; rm go"
    detached = stack.rdev("run", "--detach", "demo", "--", line).stdout.decode().strip()
    with stack.started("logs", "-f", detached) as following:
        assert following.stdout.read(4) == b"now\n"
        assert stack.rdev("logs", f"demo/{detached}").stdout == b"now\n"
        (stack.home / "workspaces/demo/go").touch()
        out, _ = following.communicate(timeout=DEADLINE_S)
    assert (following.returncode, out) == (0, b"then\n")
    assert stack.rdev("logs", detached).stdout == b"now\nthen\n"


def test_a_detached_command_is_listed_and_cancelled(stack: Stack):
    detached = stack.rdev("run", "--detach", "demo", "--", "sleep 600").stdout.decode().strip()
    newest = stack.rdev("list", "-n", "1").stdout.decode().splitlines()
    (row,) = newest
    assert row.split("\t")[:2] == [detached, "demo"]
    assert row.endswith("\tsleep 600")
    asked = stack.rdev("cancel", detached)
    assert asked.returncode == 0
    assert asked.stdout.startswith(f"{detached} is ".encode())
    assert stack.rdev("logs", "-f", detached).returncode == 0
    assert stack.rdev("cancel", "demo", detached).stdout == f"{detached} is cancelled\n".encode()
    cancelled = json.loads(stack.rdev("list", "demo", "--status", "cancelled", "--json").stdout)
    assert detached in [each["id"] for each in cancelled]
    refused = stack.rdev("list", "demo", "--status", "nonsense")
    assert refused.returncode == 1
    assert b"status" in refused.stderr


def test_projects_are_made_used_and_deleted(stack: Stack):
    assert stack.rdev("projects", "create", "other", "--env", "A=b").returncode == 0
    assert stack.rdev("run", "other", "--", "echo $A").stdout == b"b\n"
    listed = json.loads(stack.rdev("projects", "--json").stdout)
    assert [project["id"] for project in listed] == ["demo", "other"]
    assert stack.rdev("projects", "delete", "other", "--yes").returncode == 0
    done = stack.rdev("run", "other", "--", "true")
    assert done.returncode == 1
    assert b"Project not found: other" in done.stderr


def test_a_key_works_until_it_is_revoked(stack: Stack, tmp_path: Path):
    made = json.loads(stack.rdev("keys", "create", "ci", "-s", "projects:read", "--json").stdout)
    (tmp_path / "key").write_text(made["key"])
    with_key = ("--key-file", str(tmp_path / "key"))
    server = json.loads((stack.home / "client.json").read_text())["server"]
    assert stack.rdev("projects", *with_key, "--server", server).returncode == 0
    refused = stack.rdev("run", "demo", *with_key, "--", "true")
    assert refused.returncode == 1
    assert b"FORBIDDEN" in refused.stderr
    assert made["id"].encode() in stack.rdev("keys", "list").stdout
    assert stack.rdev("keys", "revoke", made["id"]).returncode == 0
    done = stack.rdev("projects", *with_key)
    assert done.returncode == 1
    assert made["key"].encode() not in done.stderr


def test_thirty_commands_at_once_wait_out_the_limits(stack: Stack):
    results: list[tuple[int, bytes]] = []

    def one(n: int) -> None:
        with stack.client() as client:
            command = client.submit("demo", "shell", command=f"echo {n}; exit {n}")
            events = list(client.events("demo", command.id))
        content = b"".join(e.content for e in events if isinstance(e, Output))
        end = events[-1]
        assert isinstance(end, StateChange)
        results.append((end.command.exit_code or 0, content))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert sorted(results) == [(n, b"%d\n" % n) for n in range(30)]


def test_submitting_twice_with_one_idempotency_key_is_one_command(stack: Stack):
    with stack.client() as client:
        one, other = (
            client.submit("demo", "shell", command="true", idempotency_key="same") for _ in range(2)
        )
    assert one.id == other.id
