"""The running stack that the end-to-end tests share."""

from collections.abc import Iterator
from itertools import count

import pytest

from http_client import Http
from live_stack import Stack, running_stack
from otlp_collector import collecting
from secrets_watch import watched
from target import Target, given_target

_numbers = count(1)


@pytest.fixture(scope="session")
def target() -> Iterator[Target]:
    """What is asked: the rdev that `RDEV_E2E_URL` names, or else one `rdev up` for all. Its
    readers and its cancelled commands get less patience than by default, so that no test waits ten
    seconds for them. At the end no secret of the run may stand in its logs, audit rows, metrics or
    spans, or have stood in a process list."""
    if (given := given_target()) is not None:
        assert given.admin.post("/projects", {"id": "demo"}).status in (201, 409)
        yield given
        return
    with (
        collecting() as collector,
        running_stack(
            collector, sse_write_timeout_s=2, kill_grace_s=0.5, log_level="debug"
        ) as running,
        watched(running),
    ):
        yield running


@pytest.fixture(scope="session")
def stack(target: Target) -> Stack:
    """For who looks behind the API: at its files, logs and processes, on this machine."""
    assert isinstance(target, Stack)
    return target


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Against a rdev that was named there is only the API: what needs more is left out, and
    counted by pytest as deselected."""
    if given_target() is None:
        return
    left_out = [each for each in items if _needs_its_own(each)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [each for each in items if each not in left_out]


def _needs_its_own(item: pytest.Item) -> bool:
    names: list[str] = getattr(item, "fixturenames", [])
    return "stack" in names or item.get_closest_marker("own_stack") is not None


@pytest.fixture(scope="session")
def api(target: Target) -> Http:
    """A client with an admin key that no limit slows down."""
    return target.key("admin")


@pytest.fixture
def project(target: Target, api: Http) -> Iterator[str]:
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
