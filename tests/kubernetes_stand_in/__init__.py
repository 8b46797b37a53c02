"""A Kubernetes of one node, for tests: its API server speaks HTTP, watch and websocket exec, its
pods are local processes in namespaces of their own. `stand_in.kubernetes_stand_in` begins one.
"""

import os
import shutil

import pytest


def skip_without_pods() -> None:
    """Skip what needs pods, where they cannot be had."""
    if os.geteuid() != 0 or not shutil.which("busybox"):
        pytest.skip("pods of the stand-in take root and a busybox")
