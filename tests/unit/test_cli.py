"""The `rdev` command as a process of its own, against a server that does as a script says."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wire_server import COMMAND, KEY, Script, finished, output, record, wire_server

DEADLINE_S = 60


@pytest.fixture
def server():
    with wire_server() as script:
        yield script


class Rdev:
    """Starts `rdev` with nothing in its environment but what is given here."""

    def __init__(self, folder: Path, server: Script) -> None:
        self.folder = folder
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "RDEV_SERVER": server.url,
            "RDEV_API_KEY": KEY,
        }

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "rdev.cli.main", *words]

    def __call__(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.argv(*words),
            input=stdin,
            capture_output=True,
            env=self.env,
            cwd=self.folder,
            timeout=DEADLINE_S,
            check=False,
        )

    @contextmanager
    def started(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        with subprocess.Popen(
            self.argv(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
            cwd=self.folder,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def rdev(tmp_path: Path, server: Script) -> Rdev:
    return Rdev(tmp_path, server)


def test_run_puts_each_stream_where_it_belongs_and_exits_as_the_command(server, rdev):
    server.events = [
        ("5-0", "output", output(0, "out\n")),
        ("5-4", "output", output(0, "err\n", "stderr")),
        ("6-4", "output", output(4, "/w==", encoding="base64")),
        finished("failed", exit_code=7),
    ]
    done = rdev("run", "demo", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n\xff", b"err\n")
    body = server.asked("POST", "/projects/demo/shell")[0].body
    assert body == {"command": "sh -c 'echo out; echo err >&2; exit 7'"}


def test_run_takes_one_word_as_a_shell_line(server, rdev):
    server.events = [finished()]
    assert rdev("run", "demo", "--", "echo $HOME | wc -c").returncode == 0
    assert server.seen[0].body == {"command": "echo $HOME | wc -c"}


def test_run_leaves_everything_behind_the_dashes_to_the_command(server, rdev):
    server.events = [finished()]
    assert rdev("run", "demo", "--", "git", "log", "--json", "--", "a b").returncode == 0
    assert server.seen[0].body == {"command": "git log --json -- 'a b'"}


def test_run_sends_its_options(server, rdev):
    server.events = [finished()]
    rdev.env["MINE"] = "from here"
    options = ["--env", "A=1=2", "-e", "MINE", "--cwd", "sub", "--timeout", "1.5"]
    done = rdev("run", "demo", *options, "--priority", "high", "--", "cat")
    assert done.returncode == 0
    assert server.seen[0].body == {
        "command": "cat",
        "env": {"A": "1=2", "MINE": "from here"},
        "cwd": "sub",
        "timeout_s": 1.5,
        "priority": "high",
    }


def test_run_forwards_any_bytes_of_its_stdin_however_the_requests_fail(server, rdev):
    server.events = [("1-0", "wait for input", None), finished()]
    path = "/projects/demo/commands/cmd-1/input"
    server.refusals[f"POST {path}"] = [(429, {"Retry-After": "0"}), (0, {}), (503, {})]
    data = bytes(range(256)) * 5000
    assert rdev("run", "demo", "--stdin", "--", "cat", stdin=data).returncode == 0
    assert server.seen[0].body == {"command": "cat", "stdin_open": True}
    assert server.input == data
    assert server.asked("POST", path)[-1].query["close"] == "true"


def test_run_goes_on_where_the_command_takes_no_more_stdin(server, rdev):
    server.events = [finished(exit_code=3, status="failed")]
    server.refusals["POST /projects/demo/commands/cmd-1/input"] = [(409, {})] * 9
    done = rdev("run", "demo", "--stdin", "--", "head -1", stdin=b"x" * 2_000_000)
    assert (done.returncode, done.stderr) == (3, b"")


def test_run_detached_sends_all_of_its_stdin_first(server, rdev):
    done = rdev("run", "demo", "--stdin", "--detach", "--", "cat", stdin=b"a\0b")
    assert (done.returncode, done.stdout) == (0, b"cmd-1\n")
    assert server.input == b"a\0b"
    assert server.input_closed.is_set()


@pytest.mark.parametrize(
    ("status", "more", "ends"),
    [
        ("succeeded", {"exit_code": 0}, (0, b"")),
        ("failed", {"exit_code": 137}, (137, b"")),
        ("failed", {"reason": "queue_timeout"}, (1, b"queue_timeout")),
        ("cancelled", {"exit_code": 0}, (130, b"cancelled")),
        ("timed_out", {"exit_code": 143}, (124, b"timeout")),
        ("lost", {"reason": "workspace gone"}, (125, b"workspace gone")),
    ],
)
def test_run_exits_as_the_command_ended(server, rdev, status, more, ends):
    server.events = [finished(status, **more)]
    done = rdev("run", "demo", "--", "x")
    code, said = ends
    assert done.returncode == code
    assert said in done.stderr
    assert bool(said) == bool(done.stderr)


def test_run_goes_on_through_broken_connections(server, rdev):
    text = "x" * 100
    server.events = [(f"{n * 100 + 101}-0", "output", output(n * 100, text)) for n in range(20)] + [
        finished()
    ]
    server.cuts = [500, 1500, 250]
    done = rdev("run", "demo", "--", "x")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"x" * 2000, b"")


def test_run_detached_prints_the_id_alone(server, rdev):
    done = rdev("run", "--detach", "demo", "--", "x")
    assert (done.returncode, done.stdout) == (0, f"{COMMAND}\n".encode())
    assert server.asked("GET", "/projects/demo/events") == []


def test_run_json_is_a_line_for_each_event(server, rdev):
    server.events = [("2-0", "output", output(0, "a")), finished("failed", exit_code=3)]
    done = rdev("run", "demo", "--json", "--", "x")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["id"], each["type"]) for each in lines] == [
        ("2-0", "output"),
        ("9-9", "command.finished"),
    ]
    assert done.returncode == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cancels_and_shows_the_last_words(server, rdev, number):
    server.events = [
        ("2-0", "output", output(0, "a")),
        ("", "wait", None),
        ("5-0", "output", output(1, "bye")),
        finished("cancelled"),
    ]
    with rdev.started("run", "demo", "--", "sleep 100") as process:
        assert process.stdout.read(1) == b"a"
        process.send_signal(number)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out) == (130, b"bye")
    assert b"cancelling" in err
    assert len(server.asked("POST", f"/projects/demo/commands/{COMMAND}/cancel")) == 1


def test_a_second_interrupt_leaves_at_once_and_says_the_way_back(server, rdev):
    server.refusals[f"POST /projects/demo/commands/{COMMAND}/cancel"] = [(403, {})]
    server.events = [("2-0", "output", output(0, "a")), ("", "wait", None), finished()]
    with rdev.started("run", "demo", "--", "sleep 100") as process:
        assert process.stdout.read(1) == b"a"
        process.send_signal(signal.SIGINT)
        assert b"cancelling" in process.stderr.readline()
        assert b"could not be cancelled" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
        assert process.wait(DEADLINE_S) == 130
    assert f"rdev logs -f demo/{COMMAND}".encode() in err


def test_a_reader_that_has_enough_cancels_the_command_quietly(server, rdev):
    server.events = [
        ("2-0", "output", output(0, "a")),
        *((f"{n + 2}-0", "output", output(n, "b")) for n in range(1, 50)),
        ("", "wait", None),
        finished("cancelled"),
    ]
    with rdev.started("run", "demo", "--", "yes") as process:
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(DEADLINE_S) == -signal.SIGPIPE
    assert err == b""
    assert server.cancelled.is_set()


def test_an_interrupted_stream_points_back_to_the_command(server, rdev):
    server.refusals["GET /projects/demo/events"] = [(403, {})]
    done = rdev("run", "demo", "--", "x")
    assert done.returncode == 1
    assert f"rdev logs -f demo/{COMMAND}".encode() in done.stderr


@pytest.mark.parametrize("target", [[COMMAND], [f"demo/{COMMAND}"], ["demo", COMMAND]])
def test_logs_finds_the_command(server, rdev, target):
    server.answers["GET /projects"] = (200, {"data": [{"id": "other"}, {"id": "demo"}]})
    server.answers[f"GET /projects/demo/commands/{COMMAND}"] = (200, {"data": record("failed")})
    server.events = [("2-0", "output", output(0, "a")), finished("failed", exit_code=7)]
    done = rdev("logs", *target)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"a", b"")


def test_logs_of_a_running_command_shows_what_there_is_and_returns(server, rdev):
    server.answers[f"GET /projects/demo/commands/{COMMAND}"] = (200, {"data": record("running")})
    written = [
        output(0, "out"),
        output(0, "err", "stderr"),
        output(3, "/w==", encoding="base64"),
    ]
    server.downloads = {"all": b"".join(json.dumps(each).encode() + b"\n" for each in written)}
    done = rdev("logs", f"demo/{COMMAND}")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out\xff", b"err")
    (asked,) = server.asked("GET", f"/projects/demo/commands/{COMMAND}/output")
    assert asked.headers["accept"] == "application/x-ndjson"


def test_logs_follows_to_the_end(server, rdev):
    server.answers[f"GET /projects/demo/commands/{COMMAND}"] = (200, {"data": record("running")})
    server.events = [("2-0", "output", output(0, "a")), finished()]
    assert rdev("logs", "-f", f"demo/{COMMAND}").stdout == b"a"


def test_logs_of_an_unknown_command_says_how_to_name_its_project(server, rdev):
    server.answers["GET /projects"] = (200, {"data": [{"id": "demo"}]})
    done = rdev("logs", "cmd-unknown")
    assert done.returncode == 1
    assert b"PROJECT/CMD" in done.stderr


def test_projects_lists_plain_lines_into_a_pipe(server, rdev):
    data = [{"id": "demo", "git_url": "https://x/" + "y" * 200}, {"id": "bad\x1b[31m"}]
    server.answers["GET /projects"] = (200, {"data": data})
    done = rdev("projects")
    assert done.stdout.split(b"\n")[0].split(b"\t")[0:4:2] == [b"demo", data[0]["git_url"].encode()]
    assert b"\x1b" not in done.stdout
    assert rdev("projects", "list").stdout == done.stdout
    assert json.loads(rdev("projects", "--json").stdout) == data


def test_projects_are_created_and_deleted(server, rdev):
    server.answers["POST /projects"] = (201, {"data": {"id": "new"}})
    server.answers["DELETE /projects/new"] = (204, None)
    assert rdev("projects", "create", "new", "-e", "A=1").stdout == b"new\n"
    assert server.seen[-1].body == {"id": "new", "env": {"A": "1"}}
    assert rdev("projects", "delete", "new").returncode == 2
    assert rdev("projects", "delete", "new", "--yes").returncode == 0
    assert len(server.asked("DELETE", "/projects/new")) == 1


def test_a_new_key_stands_alone_on_stdout(server, rdev):
    made = {"id": "key-1", "name": "ci", "key": "rdev_new"}
    server.answers["POST /keys"] = (201, {"data": made})
    done = rdev("keys", "create", "ci", "--scope", "projects:read", "--max-concurrent", "2")
    assert (done.returncode, done.stdout) == (0, b"rdev_new\n")
    assert server.seen[-1].body == {"name": "ci", "scopes": ["projects:read"], "max_concurrent": 2}
    assert json.loads(rdev("keys", "create", "ci", "-s", "admin", "--json").stdout) == made


def test_keys_are_listed_and_revoked(server, rdev):
    server.answers["GET /keys"] = (200, {"data": [{"id": "key-1", "name": "ci", "scopes": ["a"]}]})
    server.answers["DELETE /keys/key-1"] = (204, None)
    assert rdev("keys", "list").stdout.startswith(b"key-1\tci\ta\t")
    assert rdev("keys", "revoke", "key-1").returncode == 0


def test_an_unreachable_server_is_named_with_the_way_out(rdev):
    rdev.env["RDEV_SERVER"] = "http://127.0.0.1:9"
    done = rdev("projects")
    assert done.returncode == 1
    assert b"http://127.0.0.1:9" in done.stderr
    assert b"make run" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_refusal_is_one_line_and_shows_no_key(rdev):
    rdev.env["RDEV_API_KEY"] = "rdev_wrong"
    done = rdev("projects")
    assert done.returncode == 1
    assert b"RDEV_API_KEY" in done.stderr
    assert b"rdev_wrong" not in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["run", "demo"],
        ["run", "demo", "-e", "NOT_SET_HERE", "--", "x"],
        ["run", "demo", "--priority", "urgent", "--", "x"],
        ["run", "demo", "--", b"\xff"],
        ["logs", "a/b/c"],
        ["nonsense"],
    ],
)
def test_wrong_usage_exits_with_2_and_asks_nothing_of_the_server(server, rdev, words):
    done = rdev(*words)
    assert done.returncode == 2
    assert done.stderr
    assert server.seen == []


def test_the_file_of_rdev_up_gives_server_and_key(server, rdev):
    rdev.env.pop("RDEV_SERVER")
    rdev.env.pop("RDEV_API_KEY")
    server.answers["GET /projects"] = (200, {"data": []})
    home = rdev.folder / ".rdev"
    home.mkdir()
    (home / "client.json").write_text(json.dumps({"server": server.url, "api_key": KEY}))
    assert rdev("projects").returncode == 0
    home.rename(rdev.folder / "elsewhere")
    assert rdev("projects").returncode == 1
    rdev.env["RDEV_HOME"] = "elsewhere"
    assert rdev("projects").returncode == 0
    (rdev.folder / "elsewhere/client.json").write_text("{")
    assert b"damaged" in rdev("projects").stderr


def test_a_files_key_goes_to_no_other_server(server, rdev):
    rdev.env.pop("RDEV_API_KEY")
    (rdev.folder / ".rdev").mkdir()
    access = {"server": "http://127.0.0.1:9", "api_key": KEY}
    (rdev.folder / ".rdev/client.json").write_text(json.dumps(access))
    done = rdev("projects")
    assert done.returncode == 1
    assert b"RDEV_API_KEY" in done.stderr
    assert server.seen == []


def test_flags_outrank_the_environment(server, rdev):
    server.answers["GET /projects"] = (200, {"data": []})
    rdev.env.update(RDEV_SERVER="http://127.0.0.1:9", RDEV_API_KEY="rdev_wrong")
    (rdev.folder / "key").write_text(KEY + "\n")
    assert rdev("projects", "--server", server.url, "--key-file", "key").returncode == 0
    assert rdev("projects", "--key-file", "missing").returncode == 1


def test_version_needs_no_server(rdev):
    assert rdev("--version").stdout.startswith(b"rdev ")


def test_starting_up_imports_no_http_client_and_no_rich(rdev):
    code = (
        "import sys, rdev.cli.main; print({'httpx', 'rich', 'flask', 'redis'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"set()\n"
