"""A small cluster, and rdev's view of it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pod_service import Cluster, cluster_in


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with cluster_in(tmp_path) as made:
        yield made


@pytest.fixture
def another(cluster: Cluster) -> Iterator[Callable[[], Cluster]]:
    """More processes' views of the same cluster."""
    with ExitStack() as stack:

        def make() -> Cluster:
            return stack.enter_context(cluster.seen_by_another())

        yield make
