"""The shell that a runner keeps open in a pod, with each shell of this machine, and what commands
may do to the files that it looks into."""

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from command_ids import ONE, TWO
from integration.workspaces.late_feeder import held_feeder
from integration.workspaces.place import (
    SHELLS,
    THREADS_RUN_ON,
    eventually,
    gone,
    only_its_threads_run,
)
from kubernetes_stand_in.images import DISTROLESS
from rdev.adapters.workspaces import local_workspace
from rdev.adapters.workspaces.kubernetes import pod_shell
from rdev.adapters.workspaces.kubernetes.pod_shell import There
from rdev.adapters.workspaces.kubernetes.pod_talk import Answer
from rdev.adapters.workspaces.kubernetes.pod_workspace import PodWorkspace
from rdev.ports import Liveness

AGENT = Path(pod_shell.__file__).with_name("agent.sh").read_bytes()
SUPERVISOR = local_workspace.SUPERVISOR.read_bytes()
SHA256 = hashlib.sha256(SUPERVISOR).hexdigest()


class Agent:
    def __init__(self, shell: tuple[str, ...], folder: Path, env: dict[str, str]) -> None:
        self.commands = folder / "commands"
        argv = ["-s", str(self.commands), str(folder / "workspace"), os.urandom(8).hex()]
        self.process = subprocess.Popen(
            [*shell, *argv, ".supervisor.sh", SHA256, "10"],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._number = 0
        self._send(AGENT)
        assert self._lines(0) == (".", "ready", [])

    def ask(self, question: str, data: bytes = b"") -> tuple[str, str, list[str]]:
        """The mark and text of the answer, and the lines before."""
        self._number += 1
        self._send(f"{self._number} {question}\n".encode() + data)
        return self._lines(self._number)

    def hello(self) -> dict[str, str]:
        mark, _, lines = self.ask("hello")
        assert mark == "."
        return dict(line.partition(" ")[::2] for line in lines)

    def read(self, question: str) -> bytes:
        mark, size, _ = self.ask(question)
        assert mark == "."
        assert self.process.stdout
        return self.process.stdout.read(int(size))

    def _send(self, data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def _lines(self, number: int) -> tuple[str, str, list[str]]:
        assert self.process.stderr
        lines = []
        while True:
            said = self.process.stderr.readline().decode(errors="replace").rstrip("\n")
            assert said, "the agent ended"
            got, mark, text = (*said.split(" ", 2), "")[:3]
            assert int(got) == number
            if mark != "-":
                return mark, text, lines
            lines.append(text)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for each in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert each
            with suppress(BrokenPipeError):
                each.close()


@pytest.fixture(params=SHELLS.values(), ids=SHELLS)
def shell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    found = shutil.which(request.param[0])
    assert found
    return (found, *request.param[1:])


@pytest.fixture
def made() -> Iterator[list[Agent]]:
    agents: list[Agent] = []
    yield agents
    for agent in agents:
        agent.close()


@pytest.fixture
def start(shell, made, tmp_path):
    def started(**env: str) -> Agent:
        made.append(Agent(shell, tmp_path, {"PATH": os.environ["PATH"], **env}))
        return made[-1]

    return started


@pytest.fixture
def agent(start) -> Agent:
    made = start()
    made.hello()
    return made


def over(agent: Agent) -> tuple[PodWorkspace, list[str]]:
    """What rdev makes of its answers, and what it asked for."""
    asked = []

    class Shell:
        def ask(self, verb: str, *words: object, **_: object) -> Answer:
            asked.append(verb)
            mark, text, lines = agent.ask(" ".join(map(str, (verb, *words))))
            assert mark == "."
            return Answer(tuple(lines), text)

        def there(self) -> There:
            said = agent.hello()
            return There(said["life"], said["boot"], said["home"], {})

    inside = SimpleNamespace(shell=Shell(), changes=SimpleNamespace(forget=lambda _: None))
    return PodWorkspace(lambda _: inside, lambda _: ""), asked


@contextmanager
def supervised(shell: tuple[str, ...], place: Path, folder: Path) -> Iterator[None]:
    """The command in this directory, until its supervisor ends."""
    (folder / "workspace").mkdir(exist_ok=True)
    for name in ("out", "err"):
        (place / name).touch()
    token = place.parent / ".tokens" / place.name
    words = (str(each) for each in (local_workspace.SUPERVISOR, place, token, folder / "workspace"))
    with subprocess.Popen([*shell, *words, "10"], env={"PATH": os.environ["PATH"]}) as supervisor:
        yield
        assert supervisor.wait(60) == 0


def put(agent: Agent, which: str = ONE) -> Path:
    place = agent.commands / which
    place.mkdir()
    (place / "out").write_bytes(b"hello")
    return place


def test_two_that_come_first_at_once_name_one_life(start):
    agents = [start() for _ in range(4)]
    lives = set()
    for agent in agents:
        agent._send(b"1 hello\n")
    for agent in agents:
        _, _, lines = agent._lines(1)
        lives |= {line for line in lines if line.startswith("life ")}
    assert len(lives) == 1


def test_a_command_is_of_the_pod_in_which_it_was_asked_for_last_before_it_began(agent):
    life = agent.hello()["life"]
    for pod in ("u/1", "u/2"):
        assert agent.ask(f"start {ONE} {life} 4 - closed {pod}", b"text")[0] == "."
    assert "pod u/2" in agent.ask(f"look {ONE}")[2]


@pytest.mark.parametrize("left", [b"", bytes(17), b"half"])
def test_a_torn_name_of_life_is_replaced(start, tmp_path, left):
    """As a power cut leaves it."""
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands" / ".life").write_bytes(left)
    first = start().hello()["life"]
    assert first
    assert start().hello()["life"] == first


def test_it_ends_where_its_files_are_no_longer_those_it_knew(agent):
    (agent.commands / ".life").write_text("another\n")
    agent._send(f"9 forestall {ONE}\n".encode())
    assert agent.process.wait(30) == 0
    assert not list((agent.commands / ".tokens").iterdir())


def test_it_ends_with_its_connection(agent):
    assert agent.process.stdin
    agent.process.stdin.close()
    assert agent.process.wait(30) == 0


@pytest.mark.parametrize("name", ["out", "err", "exit", "refused", "pod", "feeder", "stdin"])
def test_what_a_command_puts_in_place_of_its_files_holds_up_nobody(agent, name):
    ask = {"out": f"read {ONE} out 0 9", "err": f"read {ONE} err 0 9"}.get(name, f"look {ONE}")
    if name in ("feeder", "stdin"):
        ask = f"feed {ONE} 0 0 100 still"
    for make in (os.mkfifo, lambda path: path.mkdir(), lambda path: path.symlink_to("/dev/zero")):
        place = put(agent)
        (place / name).unlink(missing_ok=True)
        make(place / name)
        assert agent.ask(ask)[0] == "."
        assert agent.ask(f"end {ONE}")[0] == "."
        assert agent.ask(f"clean {ONE}")[0] == "."
        assert not place.exists()


def test_a_feeder_whose_leader_was_killed_before_it_came_is_known(agent, shell, tmp_path):
    (tmp_path / "workspace").mkdir(exist_ok=True)
    with held_feeder(shell, agent.commands / ONE, tmp_path / "workspace") as feeder:
        assert agent.ask(f"signal {ONE} KILL")[0] == "."
    eventually((agent.commands / f"{ONE}/feeder").exists)
    assert agent.ask(f"clean {ONE}")[0] == "."
    eventually(lambda: gone(feeder))


def test_a_leader_may_decline_until_it_has_become_the_command(agent, shell, tmp_path):
    workspace, _ = over(agent)
    place, group = put(agent), tmp_path / "group"
    group.mkdir()
    os.mkfifo(group / "cgroup.procs")  # it waits here, with the token
    (place / "cgroups").write_text(f"{group}\n")
    (place / "launch").write_text("enter nowhere\n")
    with supervised(shell, place, tmp_path):
        eventually(lambda: workspace.liveness(ONE) is Liveness.RUNNING)
        assert workspace.refusal(ONE) is None
        with (group / "cgroup.procs").open() as joins:
            (group / "cgroup.procs").unlink()
            (group / "cgroup.procs").touch()
            assert joins.read() == "0\n"
        eventually(lambda: workspace.refusal(ONE))
    assert workspace.refusal(ONE)[0] == "cwd_not_found"


def test_what_was_killed_before_it_signed_its_token_is_told_from_what_began(agent):
    workspace, _ = over(agent)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (put(agent) / f"by:1:1:1:1:{boot}").touch()  # nobody that lives: 1 began otherwise
    (agent.commands / f".tokens/{ONE}").touch()
    assert workspace.liveness(ONE) is Liveness.ENDED
    assert workspace.refusal(ONE)[0] == "infrastructure"


@pytest.mark.parametrize(("name", "code"), [("TERM", 143), ("KILL", 137)])
def test_a_command_of_which_only_threads_run_on_is_ended(agent, shell, tmp_path, name, code):
    place, token = put(agent), agent.commands / f".tokens/{ONE}"
    run = shlex.join([sys.executable, "-c", THREADS_RUN_ON])
    (place / "launch").write_text(f'enter .\nexec "$@" {run}\n')
    with supervised(shell, place, tmp_path):
        eventually(lambda: token.exists() and token.read_text().endswith("\n"))
        eventually(lambda: only_its_threads_run(int(token.read_text().partition(":")[0])))
        assert agent.ask(f"survivors {ONE}")[1] == "1"
        assert agent.ask(f"signal {ONE} {name}")[0] == "."
    assert (place / "exit").read_text() == f"{code}\n"


def test_what_was_seen_of_a_command_is_not_asked_again(agent, shell, tmp_path):
    workspace, asked = over(agent)
    place = put(agent)
    (place / "launch").write_text('enter .\nexec "$@" sh -c "read -r _; exit 3"\n')
    os.mkfifo(place / "stdin")

    def becomes() -> bool:
        running = workspace.liveness(ONE) is Liveness.RUNNING
        asked.clear()
        return running and workspace.refusal(ONE) is None and not asked

    with supervised(shell, place, tmp_path):
        with (place / "stdin").open("w"):
            eventually(becomes)
            assert workspace.exit(ONE) is None
            assert asked == ["look"]
        eventually(lambda: workspace.liveness(ONE) is Liveness.ENDED)
    asked.clear()
    assert workspace.exit(ONE).exit_code == 3
    assert asked == []
    workspace.clean(ONE)
    assert workspace.exit(ONE) is None


def test_cleaning_up_again_ends_the_feeder_of_what_a_killed_agent_had_put_aside(agent):
    place = put(agent)
    with subprocess.Popen(["sleep", "60"]) as feeder:
        start = Path(f"/proc/{feeder.pid}/stat").read_text().rpartition(")")[2].split()[19]
        (place / "feeder").write_text(f"{feeder.pid}:{start}\n")
        place.rename(agent.commands / f".old.{ONE}.0")
        assert agent.ask(f"clean {ONE}")[0] == "."
        assert feeder.wait(60) == -signal.SIGKILL
    assert not list(agent.commands.glob(".old.*"))


@pytest.mark.parametrize("name", [".in.{pid}", "{id}/.launch.{pid}", "{id}/.stdin.{pid}"])
def test_what_lies_where_it_writes_is_no_trap(agent, name):
    life = (agent.commands / ".life").read_text().strip()
    place = put(agent)
    (place / "stdin").write_bytes(b"")
    os.mkfifo(agent.commands / name.format(id=ONE, pid=agent.process.pid))
    assert agent.ask(f"feed {ONE} 0 3 100 still", b"abc") == (".", "3 0", [])
    assert (place / "stdin").read_bytes() == b"abc"
    (agent.commands / ".tokens" / ONE).unlink(missing_ok=True)
    (agent.commands / ".supervisor.sh").write_text("exit 0")
    assert agent.ask(f"start {ONE} {life} 4 2 closed u/1", b"textin")[0] == "."
    assert (place / "launch").read_bytes() == b"text"


def test_a_token_in_place_of_which_something_waits_holds_up_nobody(agent):
    os.mkfifo(agent.commands / ".tokens" / ONE)
    for verb in ("look", "signal", "survivors", "end", "forestall"):
        assert agent.ask(f"{verb} {ONE} KILL" if verb == "signal" else f"{verb} {ONE}")[0] == "."


def test_names_that_are_no_text_and_lines_without_end_confuse_nothing(agent):
    place = put(agent)
    (agent.commands / ".tokens" / ONE).touch()
    for name in (b"by:\xff\xfe", b"by:a b\n9 . x", b"by:*", b"by:"):
        Path(os.fsdecode(os.fsencode(place) + b"/" + name)).touch()
    (place / "exit").write_bytes(b"7")
    (place / "refused").write_bytes(b"x" * 300_000)
    mark, _, lines = agent.ask(f"look {ONE}")
    assert mark == "."
    assert not [line for line in lines if line.startswith(("exit", "refused"))]


def test_the_containers_environment_changes_no_answer_and_is_told_whole(start):
    odd = {"BLOCK_SIZE": "1K", "LS_BLOCK_SIZE": "1M", "number": "9", "answer": "x", "life": "y"}
    odd |= {"IFS": "e", "CDPATH": "/", "missing": " m", "NEW\nLINE": "a\nb", "LANG": "xx"}
    odd |= {"TIME_STYLE": "+%s/x y", "LC_ALL": "C.UTF-8", "signed": "yes", "token": "cancelled"}
    agent = start(**odd)
    assert "missing" not in agent.hello()
    raw = agent.read("environ").rstrip(b"\0").split(b"\0")
    told = dict(each.partition(b"=")[::2] for each in raw)
    assert {name: told[name.encode()].decode() for name in odd} == odd
    place = put(agent)
    (place / "stdin").write_bytes(b"x" * 5000)
    assert agent.ask(f"feed {ONE} 5000 0 9 still") == (".", "5000 0", [])
    assert agent.read(f"read {ONE} out 0 9") == b"hello"
    assert agent.ask(f"look {TWO}") == (".", "", [])


def test_what_an_image_lacks_is_named(shell, made, tmp_path):
    if "busybox" in shell[0]:
        pytest.skip("it has them all within")
    some = tmp_path / "bin"
    some.mkdir()
    for name in set(DISTROLESS) - {"mkfifo", "setsid"}:
        (some / name).symlink_to(shutil.which(name) or "")
    made.append(Agent(shell, tmp_path, {"PATH": str(some)}))
    assert made[0].hello() == {"missing": "mkfifo setsid"}


def test_ten_thousand_commands_are_in_nobodys_way(agent):
    for i in range(10_000):
        (agent.commands / f"cmd-many-{i}").mkdir()
    put(agent)
    assert agent.ask("prune")[0] == "."
    assert agent.read(f"read {ONE} out 0 9") == b"hello"
    assert agent.ask(f"clean {ONE}")[0] == "."


def test_nobody_waits_for_what_it_removes(start, tmp_path):
    some, go = tmp_path / "bin", tmp_path / "go"
    some.mkdir()
    (some / "find").write_text(f"#!/bin/sh\nuntil [ -e {go} ]; do sleep 0.1; done\n")
    (some / "find").chmod(0o755)
    agent = start(PATH=f"{some}:{os.environ['PATH']}")
    agent.hello()
    late = threading.Timer(20, go.touch)
    late.start()
    try:
        assert agent.ask("prune")[0] == "."
        assert agent.ask(f"look {ONE}")[0] == "."
        assert not go.exists()
    finally:
        go.touch()
        late.cancel()


def test_a_folder_in_place_of_a_file_is_not_listed(agent):
    place = put(agent)
    (place / "exit").mkdir()
    for i in range(100):
        (place / "exit" / f"many-{i}").touch()
    assert b"many" not in agent.read(f"poll {ONE}")


def test_a_supervisor_in_place_of_which_something_waits_is_delivered_anew(start):
    start().hello()
    agent = start()
    (agent.commands / ".supervisor.sh").unlink(missing_ok=True)
    os.mkfifo(agent.commands / ".supervisor.sh")
    assert "undelivered" in agent.hello()
    assert agent.ask(f"deliver {len(SUPERVISOR)}", SUPERVISOR)[0] == "."
    assert "undelivered" not in agent.hello()


def test_a_full_disk_gives_no_life_and_no_token_and_loses_no_step(shell, made, tmp_path):
    """Files can be made, and nothing can be written to them."""
    full = ("sh", "-c", 'trap "" XFSZ; ulimit -f 0; exec "$@"', "sh", *shell)
    made.append(Agent(full, tmp_path, {"PATH": os.environ["PATH"]}))
    agent = made[0]
    assert agent.ask("hello")[0] == "!", "to be asked again: it may not be full for ever"
    (agent.commands / ".life").write_text("life\n")
    assert agent.hello()["life"] == "life"
    assert agent.ask(f"start {ONE} life 4 2 closed u/1", b"textin")[0] == "!"
    assert agent.ask(f"forestall {ONE}")[0] == "!"
    assert b"PATH=" in agent.read("environ")
    assert agent.ask(f"deliver {len(SUPERVISOR)}", SUPERVISOR)[0] == "!"
    assert agent.ask(f"look {ONE}")[0] == "."
