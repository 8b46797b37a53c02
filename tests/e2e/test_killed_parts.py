"""Parts of rdev that are killed while a command runs: it goes on, and each byte comes once."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from http_client import Http
from live_stack import Stack, processes_of, wait_for
from sse_reader import Event, joined

# Writes known lines until the test says that it is enough.
WRITER = (
    "echo x >>starts; n=0; while [ ! -e enough ]; do n=$((n+1)); echo line $n; echo err $n >&2; "
    "echo $n >count; sleep 0.01; done; exit 5"
)


def lines(word: str, count: int) -> bytes:
    return b"".join(b"%s %d\n" % (word.encode(), n) for n in range(1, count + 1))


def check_whole(folder: Path, events: list[Event]) -> None:
    """The events of a WRITER from beginning to end: one start, each byte once, its own end."""
    count = int((folder / "count").read_text())
    assert joined(events, "stdout") == lines("line", count)
    assert joined(events, "stderr") == lines("err", count)
    types = [event.type for event in events if event.type != "output"]
    assert types == ["command.queued", "command.started", "command.finished"]
    assert (folder / "starts").read_text() == "x\n"
    record = events[-1].data["command"]
    assert (record["status"], record["exit_code"]) == ("failed", 5)


@pytest.mark.slow
def test_a_reader_goes_on_by_its_last_id_after_kill_9_of_the_functions(
    stack: Stack, api: Http, project: str
) -> None:
    command_id = api.shell(project, WRITER)["id"]
    events: list[Event] = []
    last_id = None
    for _ in range(2):
        with api.events(project, command_id, last_id=last_id) as reader:
            reader.read(lambda each: len(each.events) > 30)
            stack.kill("functions")
            reader.read()
            assert reader.broken
        events += reader.events
        last_id = events[-1].id
        stack.await_up()
    (stack.workspace(project) / "enough").touch()
    with api.events(project, command_id, last_id=last_id) as reader:
        events += reader.read_to_end()
    check_whole(stack.workspace(project), events)
    with api.events(project, command_id, last_id=events[-1].id) as reader:
        assert reader.status == 204


@pytest.mark.slow
def test_commands_go_on_and_are_taken_over_after_kill_9_of_the_runner(
    stack: Stack, api: Http, project: str
) -> None:
    """Given two commands; when the runner is killed and one of them ends before there is another
    runner; then both are told to their true ends. The dead runner's lease has to be over first,
    so this takes its ten seconds."""
    folders = [stack.workspace(project) / name for name in ("goes-on", "ends")]
    for folder in folders:
        folder.mkdir()
    goes_on, ends = (api.shell(project, WRITER, cwd=folder.name)["id"] for folder in folders)
    with api.events(project, goes_on) as reader, api.events(project, ends) as other:
        reader.read(lambda each: len(each.of("output")) > 10)
        other.read(lambda each: len(each.of("output")) > 10)
        with nobody_restarts(stack):
            stack.kill("runner")
            before = int((folders[0] / "count").read_text() or 0)
            (folders[1] / "enough").touch()
            wait_for(lambda: not processes_of(ends))
            wait_for(lambda: int((folders[0] / "count").read_text() or 0) > before + 20)
        seen = len(reader.events)
        reader.read(lambda each: len(each.events) > seen + 20)
        (folders[0] / "enough").touch()
        check_whole(folders[0], reader.read_to_end())
        check_whole(folders[1], other.read_to_end())
    assert processes_of(goes_on, ends) == []
    wait_for(lambda: not stack.commands_left(project))


@contextmanager
def nobody_restarts(stack: Stack) -> Iterator[None]:
    """Hold `rdev up` meanwhile."""
    os.kill(stack.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(stack.process.pid, signal.SIGCONT)


@pytest.mark.slow
def test_sigterm_of_the_functions_ends_open_streams_politely(
    stack: Stack, api: Http, project: str
) -> None:
    """The last frame is whole and the body has its proper end; the reader goes on elsewhere."""
    command_id = api.shell(project, WRITER)["id"]
    with api.events(project, command_id) as reader, api.events(project) as other:
        reader.read(lambda each: len(each.events) > 20)
        other.read(lambda each: each.events)
        functions = stack.part("functions")
        os.kill(functions.pid, signal.SIGTERM)
        events = reader.read_to_end()
        other.read_to_end()
    wait_for(lambda: not functions.alive)
    stack.await_up()
    (stack.workspace(project) / "enough").touch()
    with api.events(project, command_id, last_id=events[-1].id) as reader:
        events = events + reader.read_to_end()
    check_whole(stack.workspace(project), events)
