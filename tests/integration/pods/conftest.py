"""A small cluster, and rdev's view of it."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pod_house import PROJECT, House
from pod_service import Cluster, cluster_in
from rdev.adapters.postgres.database import Database
from rdev.domain.workspaces import State


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with cluster_in(tmp_path) as made:
        yield made


@pytest.fixture
def house(database: Database, redis_url: str, tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(database, redis_url, tmp_path, stack)


@pytest.fixture
def stopped(house: House) -> House:
    """With a project whose workspace is stopped."""
    house.projects.create(house.by, PROJECT)
    house.cluster.await_state(PROJECT, State.RUNNING)
    house.lifecycle().stop(house.by, PROJECT)
    house.cluster.await_state(PROJECT, State.STOPPED)
    return house
