"""Where pods are measured: on a real cluster that the environment names, or else the stand-in."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubernetes_stand_in.stand_in import kubernetes_stand_in
from real_cluster import Cluster, is_given, real_cluster
from small_cluster import NAMESPACE


@contextmanager
def any_cluster() -> Iterator[Cluster]:
    if is_given():
        with real_cluster() as cluster:
            yield cluster
        return
    with tempfile.TemporaryDirectory() as folder, kubernetes_stand_in(Path(folder)) as (_, made):
        yield Cluster(made, NAMESPACE, "registry.test/debian:1")
