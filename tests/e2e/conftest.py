"""The running stack that the end-to-end tests share."""

from collections.abc import Iterator
from itertools import count

import pytest

from http_client import Http
from live_stack import Stack, running_stack
from otlp_collector import collecting
from secrets_watch import watched

_numbers = count(1)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """One `rdev up` for all. Its readers and its cancelled commands get less patience than by
    default, so that no test waits ten seconds for them. At the end no secret of the run may stand
    in its logs, audit rows, metrics or spans, or have stood in a process list."""
    with (
        collecting() as collector,
        running_stack(
            collector, sse_write_timeout_s=2, kill_grace_s=0.5, log_level="debug"
        ) as running,
        watched(running),
    ):
        yield running


@pytest.fixture(scope="session")
def api(stack: Stack) -> Http:
    """A client with an admin key that no limit slows down."""
    return stack.key("admin")


@pytest.fixture
def project(stack: Stack, api: Http) -> Iterator[str]:
    """A project of the test's own; gone afterwards with whatever runs in it."""
    name = f"project-{next(_numbers)}"
    assert api.post("/projects", {"id": name}).status == 201
    yield name
    for status in ("queued", "running"):
        listed = api.get(f"/projects/{name}/commands?status={status}")
        for command in listed.data if listed.status == 200 else ():
            api.post(f"/projects/{name}/commands/{command['id']}/cancel")
            with api.events(name, command["id"]) as reader:
                reader.read()
    assert api.delete(f"/projects/{name}").status in (200, 404)
