"""`rdev up` with the real stores and stand-ins for rdev's own three processes."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from free_port import free_port
from rdev.platform.layout import socket_dir
from rdev.platform.processes import Recorded, end_all, read_record, start_mark, wait_gone

DEADLINE_S = 60.0
PARTS = ("postgres", "valkey", "functions", "runner", "triggers")
URL = {"postgres": "RDEV_DATABASE_URL", "valkey": "RDEV_REDIS_URL"}

ANSWER = """
import os, socket, http.server
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(str(os.getpid()).encode())
    def log_message(self, *_): pass
server = http.server.HTTPServer(("", 0), Health, bind_and_activate=False)
server.socket = socket.socket(fileno=int(os.environ["RDEV_LISTEN_FD"]))
server.serve_forever()
"""
COMMAND = """
import os, subprocess, sys, time
command = subprocess.Popen(["sleep", "600"], start_new_session=True, close_fds=True)
with open(os.path.join(os.environ["RDEV_HOME"], "commands.pids"), "a") as file:
    print(command.pid, file=file)
time.sleep(600)
"""
DRIVER = """
import os, sys
from pathlib import Path
from rdev.platform import up
from rdev.platform.supervisor import Part
from rdev.platform.up import Plan, run

up.SLOW_S, up.READY_TIMEOUT_S = map(float, sys.argv[5:])

def parts(host, port, fd):
    python = [sys.executable, "-c"]
    return [
        Part("functions", [*python, sys.argv[3]], pass_fds=(fd,),
             environment={"RDEV_LISTEN_FD": str(fd)}),
        Part("runner", [*python, sys.argv[4]]),
        Part("triggers", ["sleep", "600"]),
    ]

def greet(home, url):
    return [f"{name}={os.environ[name]}" for name in ("RDEV_DATABASE_URL", "RDEV_REDIS_URL")]

sys.exit(run(Path(sys.argv[1]), Plan("127.0.0.1", int(sys.argv[2]), parts, greet)))
"""


class Up:
    """One home, and whatever `rdev up` is made to do with it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.output = home.with_name(home.name[:32] + ".out")
        self.parents: list[subprocess.Popen[bytes]] = []
        self.seen: dict[int, Recorded] = {}

    def launch(
        self,
        runner: str = "import time; time.sleep(600)",
        answer: str = ANSWER,
        slow_s: float = 600,
        timeout_s: float = 600,
    ) -> "subprocess.Popen[bytes]":
        argv = [self.home, self.port, answer, runner, slow_s, timeout_s]
        with self.output.open("wb") as output:
            parent = subprocess.Popen(
                [sys.executable, "-c", DRIVER, *map(str, argv)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.parents.append(parent)
        return parent

    def start(self, runner: str = "import time; time.sleep(600)") -> "subprocess.Popen[bytes]":
        parent = self.launch(runner)
        self.eventually(lambda: "Ctrl-C ends it" in self.said() or parent.poll() is not None)
        assert parent.poll() is None, self.said()
        self.children()
        return parent

    def fails(self) -> str:
        """The one line that it says, having left with exit code 1 and left nothing behind."""
        parent = self.launch()
        assert parent.wait(DEADLINE_S) == 1, self.said()
        lines = [line for line in self.said().splitlines() if not line.endswith(")")]
        assert len(lines) == 1, self.said()
        assert self.nothing_left()
        return lines[0]

    def said(self) -> str:
        return self.output.read_text()

    def children(self) -> dict[str, Recorded]:
        found = {p.name: p for p in read_record(self.home / "run" / "processes.json")}
        self.seen.update({process.pid: process for process in found.values()})
        return found

    def url(self, store: str) -> str:
        match = re.search(rf"^{URL[store]}=(.*)$", self.said(), re.MULTILINE)
        assert match, self.said()
        return match[1]

    def health(self) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=20) as answer:
            return bytes(answer.read())

    def nothing_left(self) -> bool:
        started = [int(pid) for pid in re.findall(r"started \(pid (\d+)\)", self.said())]
        mine = [p for p in self.seen.values() if p.pid not in [q.pid for q in self.parents]]
        # A store's own children end with it, a moment later.
        return not any(start_mark(pid) for pid in started) and wait_gone(mine, 5)

    @staticmethod
    def eventually(check: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not check():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def clean(self) -> None:
        self.children()
        for parent in self.parents:
            if parent.poll() is None:
                parent.kill()
                parent.wait()
        end_all(self.seen.values())
        link = self.home / "postgres"
        if link.is_symlink():
            shutil.rmtree(link.resolve(), ignore_errors=True)
        if self.home.is_dir() and (short := socket_dir(self.home / "run")) != self.home / "run":
            shutil.rmtree(short, ignore_errors=True)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    it = Up(tmp_path / "home")
    yield it
    it.clean()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all_of_it_and_leaves_no_process(up: Up, how: signal.Signals) -> None:
    parent = up.start()
    assert set(up.children()) == {"rdev up", *PARTS}
    parent.send_signal(how)
    assert parent.wait(DEADLINE_S) == 0
    assert up.nothing_left()
    assert not (up.home / "run" / "processes.json").exists()


def test_a_signal_on_the_way_up_leaves_no_process(up: Up) -> None:
    parent = up.launch()
    up.eventually(lambda: "valkey started" in up.said())
    parent.terminate()
    assert parent.wait(DEADLINE_S) == 0
    assert up.nothing_left()


def test_every_part_that_is_killed_is_started_again(up: Up) -> None:
    up.start()
    before = up.children()
    for name in PARTS:
        os.kill(before[name].pid, signal.SIGKILL)
        up.eventually(lambda name=name: up.children()[name].pid != before[name].pid)
        assert f"{name} ended (killed by SIGKILL), starting it again" in up.said()
        up.health()  # never refused: the parent holds the port

    def stores_answer() -> bool:
        try:
            psycopg.connect(up.url("postgres")).close()
            with redis.Redis.from_url(up.url("valkey")) as client:
                return bool(client.ping())
        except (psycopg.OperationalError, redis.ConnectionError):
            return False

    up.eventually(stores_answer)
    assert set(up.children()) == {"rdev up", *PARTS}


def test_after_a_kill_of_the_parent_the_next_start_ends_what_was_left(up: Up) -> None:
    parent = up.start()
    with psycopg.connect(up.url("postgres")) as db:
        db.execute("CREATE TABLE kept AS SELECT 1")
    before = up.children()
    parent.kill()
    parent.wait()
    assert all(before[name].alive for name in PARTS)
    up.start()
    assert not any(before[name].alive for name in PARTS)
    with psycopg.connect(up.url("postgres")) as db:
        assert db.execute("SELECT count(*) FROM kept").fetchone() == (1,)


def test_a_recorded_pid_that_is_somebody_elses_by_now_is_left_alone(up: Up) -> None:
    with subprocess.Popen(["sleep", "600"]) as bystander:
        try:
            (up.home / "run").mkdir(parents=True)
            entry = {"name": "runner", "pid": bystander.pid, "started": "another boot:1"}
            (up.home / "run" / "processes.json").write_text(json.dumps([entry]))
            up.start()
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_commands_survive_runner_and_parent_alike(up: Up) -> None:
    parent = up.start(COMMAND)
    pids = up.home / "commands.pids"
    up.eventually(lambda: pids.exists() and pids.read_text().endswith("\n"))
    command = int(pids.read_text().split()[0])
    mark = start_mark(command)
    try:
        os.kill(up.children()["runner"].pid, signal.SIGKILL)
        up.eventually(lambda: len(pids.read_text().split()) == 2)
        parent.kill()
        parent.wait()
        parent = up.start()
        parent.terminate()
        parent.wait(DEADLINE_S)
        assert start_mark(command) == mark
    finally:
        for pid in pids.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


def test_a_taken_port_is_one_clear_line(up: Up) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", up.port))
        other.listen()
        assert f"make run PORT={up.port + 1}" in up.fails()


def test_who_comes_up_slowly_is_waited_for_and_named(up: Up) -> None:
    up.launch(answer=f"import time; time.sleep(3)\n{ANSWER}", slow_s=0.1)
    up.eventually(lambda: "Ctrl-C ends it" in up.said())
    waits = [line for line in up.said().splitlines() if "waits for" in line]
    log = up.home / "log" / "functions.log"
    assert waits[-1] == f"rdev: waits for functions ({log})"
    assert len(waits) == len(set(waits))


def test_who_never_answers_ends_the_wait_with_one_clear_line(up: Up) -> None:
    parent = up.launch(answer="import time; time.sleep(600)", timeout_s=3)
    assert parent.wait(DEADLINE_S) == 1
    # Of a busy machine's stores the same is said.
    assert re.search(r"^rdev: \w+ is not ready after 3 s; .*\.log may say why$", up.said(), re.M)
    assert up.nothing_left()


def test_a_home_that_cannot_be_written_is_one_clear_line(up: Up) -> None:
    # Root passes over permissions: a folder below a file cannot be written by anybody.
    up.home.write_text("a file")
    up.home = up.home / "below"
    assert "RDEV_HOME" in up.fails()


def test_a_second_platform_in_the_same_home_is_refused_by_name(up: Up) -> None:
    parent = up.start()
    second = Up(up.home)
    second.output = up.home.with_name("second.out")
    try:
        assert f"(pid {parent.pid})" in second.fails()
    finally:
        for process in second.parents:
            process.kill()
    assert parent.poll() is None
    up.health()


def a_home_that_ran(up: Up) -> Path:
    """A home with data in it and nothing running; returns Postgres's data folder."""
    parent = up.start()
    parent.terminate()
    assert parent.wait(DEADLINE_S) == 0
    return (up.home / "postgres").resolve() / "data"


@pytest.mark.parametrize("file", ["PG_VERSION", "global/pg_control"])
def test_a_damaged_database_is_one_clear_line(up: Up, file: str) -> None:
    data = a_home_that_ran(up)
    (data / file).write_text("damaged")
    line = up.fails()
    assert "postgres does not start" in line
    assert f"move {data} away" in line
    (data / file).unlink()
    assert f"move {data} away" in up.fails()


@pytest.mark.parametrize("zeros", [1, 70_000])
def test_zeros_that_a_power_cut_left_in_the_append_only_file_do_no_harm(up: Up, zeros: int) -> None:
    parent = up.start()
    with redis.Redis.from_url(up.url("valkey")) as client:
        client.set("kept", "yes")
    parent.terminate()
    assert parent.wait(DEADLINE_S) == 0
    (file,) = (up.home / "valkey" / "appendonlydir").glob("*.incr.aof")
    with file.open("ab") as opened:
        opened.write(bytes(zeros))
    up.start()
    with redis.Redis.from_url(up.url("valkey")) as client:
        assert client.get("kept") == b"yes"


def test_a_damaged_append_only_file_is_one_clear_line(up: Up) -> None:
    a_home_that_ran(up)
    for file in (up.home / "valkey" / "appendonlydir").glob("*.incr.aof"):
        file.write_bytes(b"*1\r\n$4\r\nPING\r\nnonsense that is no command at all\r\n")
    line = up.fails()
    assert "valkey does not start" in line
    assert f"Move {up.home / 'valkey'} away" in line
    shutil.rmtree(up.home / "valkey")
    up.start()


def test_a_lost_pepper_is_one_clear_line_and_not_a_new_pepper(up: Up) -> None:
    a_home_that_ran(up)
    (up.home / "secrets" / "pepper").unlink()
    assert "pepper is missing" in up.fails()


def test_a_stale_pid_file_that_names_a_living_stranger_does_not_matter(up: Up) -> None:
    data = a_home_that_ran(up)
    sockets = Path(up.url("postgres").split("host=")[1].replace("%2F", "/"))
    for file in (data / "postmaster.pid", sockets / ".s.PGSQL.5432.lock"):
        file.write_text(f"{os.getpid()}\n{data}\n1\n5432\n{sockets}\n\n")
    up.start()


def test_a_removed_home_starts_from_nothing(up: Up) -> None:
    parent = up.start()
    old = (up.home / "postgres").resolve()
    with psycopg.connect(up.url("postgres")) as db:
        db.execute("CREATE TABLE old ()")
    parent.terminate()
    parent.wait(DEADLINE_S)
    shutil.rmtree(up.home)
    try:
        up.start()
        with psycopg.connect(up.url("postgres")) as db:
            assert db.execute("SELECT to_regclass('old')").fetchone() == (None,)
    finally:
        if os.geteuid() == 0:
            shutil.rmtree(old)


def test_a_home_with_a_long_and_odd_name_works(up: Up) -> None:
    up.home = up.home.with_name('it\'s, "odd" äöü ' + "x" * 120)
    up.start()
    with psycopg.connect(up.url("postgres")) as db:
        assert db.execute("SELECT 1").fetchone() == (1,)


def test_nothing_is_readable_by_others_and_no_folder_above_is_opened(up: Up) -> None:
    up.home.parent.chmod(0o700)
    up.start()
    assert up.home.parent.stat().st_mode & 0o777 == 0o700
    for name in (".", "run", "secrets", "log", "valkey"):
        assert (up.home / name).stat().st_mode & 0o077 == 0, name
    assert (up.home / "secrets" / "pepper").stat().st_mode & 0o777 == 0o600
    assert len((up.home / "secrets" / "pepper").read_text().strip()) >= 32
    command_lines = [
        Path(f"/proc/{process.pid}/cmdline").read_bytes() for process in up.children().values()
    ]
    pepper = (up.home / "secrets" / "pepper").read_bytes().strip()
    assert not any(pepper in line for line in command_lines)
