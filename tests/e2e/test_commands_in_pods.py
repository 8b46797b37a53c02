"""Commands in pods through a whole stack, on a Kubernetes of one node whose pods are processes."""

import http.server
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from free_port import free_port
from http_client import Http
from kubernetes_stand_in import skip_without_pods
from kubernetes_stand_in.stand_in import StandIn, kubernetes_stand_in
from live_stack import Stack, running_stack, wait_for
from small_cluster import NAMESPACE

pytestmark = pytest.mark.own_stack


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StandIn, Path]]:
    skip_without_pods()
    with kubernetes_stand_in(tmp_path_factory.mktemp("pods")) as made:
        yield made


@pytest.fixture(scope="module")
def pods(there: tuple[StandIn, Path]) -> Iterator[Stack]:
    with running_stack(
        workspaces="kubernetes",
        kubeconfig=there[1],
        kubernetes_namespaces=NAMESPACE,
        kubernetes_image="registry.test/debian:1",
        kill_grace_s=0.5,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def api(pods: Stack) -> Http:
    return pods.key("admin")


@pytest.fixture(scope="module")
def web(api: Http) -> str:
    assert api.post("/projects", {"id": "web", "env": {"GREETING": "hi"}}).status == 201
    return "web"


def test_a_command_behaves_as_in_a_shell(api: Http, web: str) -> None:
    line = 'echo "$GREETING $WHO"; cat; echo oops >&2; exit 3'
    record = api.finished(web, line, env={"WHO": "you"}, stdin="fed\n")
    assert (record["status"], record["exit_code"]) == ("failed", 3)
    assert api.output(web, record["id"]) == b"hi you\nfed\n"
    assert api.output(web, record["id"], "stderr") == b"oops\n"


def test_its_user_and_place_are_the_pods(api: Http, web: str) -> None:
    record = api.finished(web, "id -u; pwd; echo $HOME")
    assert api.output(web, record["id"]) == b"1000\n/data/workspace\n/data/workspace\n"


def test_output_streams_while_it_runs_and_resumes_by_id(api: Http, web: str) -> None:
    command = api.shell(web, "echo one; until [ -e go ]; do sleep 0.05; done; echo two")["id"]
    with api.events(web, command) as reader:
        reader.read(lambda seen: any(event.type == "output" for event in seen.events))
        last = reader.events[-1].id
    api.finished(web, ": >go")
    with api.events(web, command, last_id=last) as reader:
        events = reader.read_to_end()
    assert b"".join(event.content for event in events if event.type == "output") == b"two\n"
    assert events[-1].data["command"]["status"] == "succeeded"


def test_input_reaches_a_running_command(api: Http, web: str) -> None:
    command = api.shell(web, "while read -r line; do echo got $line; done", stdin_open=True)["id"]
    sent = api.post(f"/projects/{web}/commands/{command}/input", {"data": "a\nb\n", "close": True})
    assert sent.status in (200, 202), sent.body
    wait_for(lambda: api.record(web, command)["finished_at"])
    assert api.output(web, command) == b"got a\ngot b\n"


def test_a_cancel_ends_all_of_it(api: Http, web: str) -> None:
    command = api.shell(web, "trap '' TERM; setsid sleep 1000 & echo up; wait; wait")["id"]
    wait_for(lambda: api.output(web, command) == b"up\n")
    api.post(f"/projects/{web}/commands/{command}/cancel")
    record = wait_for(lambda: found if (found := api.record(web, command))["finished_at"] else None)
    assert (record["status"], record["signal"]) == ("cancelled", "KILL")
    seen = api.finished(web, f"grep -lszxF RDEV_COMMAND_ID={command} /proc/[0-9]*/environ || :")
    assert api.output(web, seen["id"]) == b""


def test_a_limit_that_pods_cannot_hold_is_refused(api: Http, web: str) -> None:
    refused = api.post(f"/projects/{web}/shell", {"command": "true", "limits": {"memory_mb": 100}})
    assert refused.status == 400
    assert "not enforceable here" in refused.error["details"][0]["message"]


def test_files_outlive_a_stop_and_the_next_command_wakes_it(api: Http, web: str) -> None:
    api.finished(web, "echo kept >file")
    assert api.post(f"/projects/{web}/stop").status in (200, 202)
    wait_for(lambda: api.get(f"/projects/{web}").data["status"]["state"] == "stopped")
    record = api.finished(web, "cat file")
    assert api.output(web, record["id"]) == b"kept\n"


def test_a_killed_runner_costs_nothing(pods: Stack, api: Http, web: str) -> None:
    line = "for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.25; done; exit 4"
    command = api.shell(web, line)["id"]
    wait_for(lambda: api.output(web, command))
    pods.kill("runner")
    record = wait_for(lambda: found if (found := api.record(web, command))["finished_at"] else None)
    assert (record["status"], record["exit_code"]) == ("failed", 4)
    assert api.output(web, command) == b"".join(b"line %d\n" % n for n in range(1, 9))


def test_a_pod_that_is_killed_takes_its_commands_with_it_and_says_why(
    api: Http, web: str, there: tuple[StandIn, Path]
) -> None:
    command = api.shell(web, "echo up; sleep 1000")["id"]
    wait_for(lambda: api.output(web, command) == b"up\n")
    there[0].kill(f"{web}-0", "OOMKilled")
    record = wait_for(lambda: found if (found := api.record(web, command))["finished_at"] else None)
    assert record["status"] == "lost"
    assert "memory" in record["reason_message"]
    assert api.output(web, command) == b"up\n"


def test_a_repository_is_cloned_by_a_first_command(api: Http, tmp_path: Path) -> None:
    with serving_repository(tmp_path) as url:
        made = api.post("/projects", {"id": "cloned", "git_url": url})
        assert made.status == 201, made.body
        record = api.finished("cloned", "cat README; git log --format=%s")
        assert api.output("cloned", record["id"]) == b"hello\nfirst\n"


class serving_repository:  # noqa: N801 - used like a function
    """A repository over HTTP, on this machine."""

    def __init__(self, folder: Path) -> None:
        work, bare = folder / "work", folder / "served" / "repo.git"
        self._git("init", "-q", "-b", "main", work)
        (work / "README").write_text("hello\n")
        self._git("-C", work, "add", ".")
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        self._git("-C", work, *who, "commit", "-q", "-m", "first")
        self._git("clone", "-q", "--bare", work, bare)
        self._git("-C", bare, "update-server-info")
        handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder / "served"))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), handler)

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}/repo.git"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _git(self, *words: object) -> None:
        subprocess.run(["git", *map(str, words)], check=True, capture_output=True)
