"""One workspace a target, which all tests share; a `place` with names of its own for each test."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from conformance.workspaces.place import ENOUGH_S, Place
from conformance.workspaces.targets import TARGETS, Target


@pytest.fixture(scope="session", params=list(TARGETS))
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    with TARGETS[request.param](tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture(scope="session")
def project(target: Target) -> Iterator[str]:
    name = f"suite-{uuid4().hex[:8]}"
    target.workspaces.create(name, git_url=None)
    try:
        state = target.workspaces.wait_running(name, ENOUGH_S)
        assert state.running, state
        yield name
    finally:
        target.workspaces.delete(name)


@pytest.fixture
def place(target: Target, project: str) -> Iterator[Place]:
    place = Place(target, project, uuid4().hex[:8])
    try:
        yield place
    finally:
        place.clean_up()
