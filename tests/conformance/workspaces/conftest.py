"""What the suite is run against, and one workspace a target, which all tests share; each has a
`place` with names of its own.

Workspaces on this machine, once with each shell that it has; pods of the stand-in, once with each
image; pods of a real cluster, where one is named (`make test-cluster`), and then nothing else.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

import real_cluster
from conformance.workspaces import clusters
from conformance.workspaces.place import ENOUGH_S, Place
from conformance.workspaces.targets import Target, on_this_machine
from integration.workspaces.place import SHELLS

TARGETS: dict[str, Callable[[Path], AbstractContextManager[Target]]] = {
    **{f"local-{name}": partial(on_this_machine, shell) for name, shell in SHELLS.items()},
    "pods-debian": partial(clusters.of_the_stand_in, clusters.made_by_rdev, "debian"),
    "pods-distroless": partial(clusters.of_the_stand_in, clusters.made_by_rdev, "distroless-sh"),
    "others-alpine": partial(clusters.of_the_stand_in, clusters.made_by_others, "alpine"),
}
if real_cluster.is_given():
    TARGETS = {
        "cluster": partial(clusters.of_a_real_cluster, clusters.made_by_rdev),
        "cluster-others": partial(clusters.of_a_real_cluster, clusters.made_by_others),
    }


@pytest.fixture(scope="session", params=list(TARGETS))
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    with TARGETS[request.param](tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture(scope="session")
def project(target: Target) -> Iterator[str]:
    name = f"suite-{uuid4().hex[:8]}"
    with target.project(name):
        state = target.workspaces.wait_running(name, ENOUGH_S)
        assert state.running, state
        yield name


@pytest.fixture
def place(target: Target, project: str) -> Iterator[Place]:
    place = Place(target, project, uuid4().hex[:8])
    try:
        yield place
    finally:
        place.clean_up()
