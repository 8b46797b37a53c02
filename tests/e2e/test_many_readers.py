"""Many readers of one project's stream, one of which reads nothing."""

import threading
from contextlib import ExitStack

import pytest

from http_client import Http
from sse_reader import SseReader, joined
from target import Target

READERS = 50
LINES = 200_000
SMALL = 8 * 1024


def saw_the_end(reader: SseReader) -> bool:
    return bool(reader.events) and reader.events[-1].type == "command.finished"


@pytest.mark.own_stack  # behind a proxy it is the proxy that nobody reads from
@pytest.mark.slow
def test_who_reads_nothing_slows_nobody_and_can_resume(
    target: Target, api: Http, project: str
) -> None:
    """Given fifty readers of a project, one of which stops after the headers; when a command
    writes far more than the kernel keeps for it; then forty-nine have all, and the slow one is
    disconnected and goes on from its last id without loss."""
    written = b"".join(b"%d\n" % number for number in range(1, LINES + 1))
    with ExitStack() as opened:
        slow = opened.enter_context(api.events(project, receive_buffer=SMALL))
        readers = [opened.enter_context(api.events(project)) for _ in range(READERS - 1)]
        threads = [threading.Thread(target=each.read, args=(saw_the_end,)) for each in readers]
        for thread in threads:
            thread.start()
        command_id = api.shell(project, f"seq 1 {LINES}")["id"]
        for thread in threads:
            thread.join()
        for reader in readers:
            assert reader.output(command_id=command_id) == written
            kinds = [event.type for event in reader.events if event.type != "output"]
            assert kinds == ["command.queued", "command.started", "command.finished"]
        slow.wait_for_hangup()
        slow.read()
        assert slow.broken
        assert not saw_the_end(slow)
        with api.events(project, last_id=slow.events[-1].id) as again:
            again.read(saw_the_end)
        assert joined(slow.events + again.events, command_id=command_id) == written
