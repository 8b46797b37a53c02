"""Two hundred commands at once, each byte and each record compared with what was asked for."""

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from http_client import Http
from live_stack import Stack, processes_of, wait_for

COMMANDS, CLIENTS = 200, 20
SIZES = (0, 0, 1, 7, 100, 4_096, 32_768, 100_000, 262_144, 400_000)
BIG = 5_000_000
LETTERS = "abc \näöü€漢字🙂"


@dataclass(frozen=True)
class Case:
    """One command: what it will write, and how it will end."""

    number: int
    stdout: bytes
    stderr: bytes
    text: bool
    exit_code: int

    def line(self) -> str:
        """Both streams at once, so that they interleave."""
        both = f"cat {self.number}.out & cat {self.number}.err >&2; wait"
        return f"{both}; exit {self.exit_code}"


def make_case(number: int, chance: random.Random) -> Case:
    text = number % 2 == 0
    sizes = (BIG if number % 50 == 1 else chance.choice(SIZES), chance.choice(SIZES))
    if number % 50 == 26:
        sizes = (0, BIG)
    out, err = (some_text(size, chance) if text else chance.randbytes(size) for size in sizes)
    return Case(number, out, err, text, chance.choice((0, 0, 1, 7, 42, 255)))


def some_text(size: int, chance: random.Random) -> bytes:
    """UTF-8 of one to four bytes a character, of about that size."""
    piece = "".join(chance.choices(LETTERS, k=min(size, 5000)))
    return (piece * (size // 2 // max(1, len(piece)) + 1))[: size // 2 + size % 2].encode()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.slow
def test_two_hundred_commands_from_twenty_clients_lose_nothing(
    stack: Stack, api: Http, project: str
) -> None:
    chance = random.Random(2)
    cases = [make_case(number, chance) for number in range(COMMANDS)]
    for case in cases:
        write(stack.workspace(project), case)
    with ThreadPoolExecutor(CLIENTS) as clients:
        ids = list(clients.map(lambda case: submit_and_check(api, project, case), cases))
    assert len(set(ids)) == COMMANDS
    assert processes_of(*ids) == []
    wait_for(lambda: not stack.commands_left(project))


def write(folder: Path, case: Case) -> None:
    (folder / f"{case.number}.out").write_bytes(case.stdout)
    (folder / f"{case.number}.err").write_bytes(case.stderr)


def submit_and_check(api: Http, project: str, case: Case) -> str:
    command_id: str = api.shell(project, case.line())["id"]
    with api.events(project, command_id) as stream:
        events = stream.read_to_end()
    assert sha(stream.output("stdout")) == sha(case.stdout)
    assert sha(stream.output("stderr")) == sha(case.stderr)
    types = [event.type for event in events if event.type != "output"]
    assert types == ["command.queued", "command.started", "command.finished"], case
    if case.text:
        assert not any("encoding" in event.data for event in events), "a character was split"
    check_record(events[-1].data["command"], case)
    check_record(api.record(project, command_id), case)
    assert sha(api.output(project, command_id, "stdout")) == sha(case.stdout)
    assert sha(api.output(project, command_id, "stderr")) == sha(case.stderr)
    return command_id


def check_record(record: dict, case: Case) -> None:
    assert record["exit_code"] == case.exit_code
    assert record["status"] == ("failed" if case.exit_code else "succeeded")
    assert record["output"] == {
        "stdout_bytes": len(case.stdout),
        "stderr_bytes": len(case.stderr),
        "sha256": {"stdout": sha(case.stdout), "stderr": sha(case.stderr)},
        "truncated": False,
    }
