"""The same limits under control groups of version 2, where this machine has version 1: in a Linux
of the test's own."""

from pathlib import Path

import pytest

from own_linux import KERNEL, booted, said
from rdev.adapters.workspaces import cgroups
from rdev.config import SOURCE_ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# Not in the root's group, as no service is: rdev's own group cannot hand the controllers down, so
# those of commands have to stand beside it.
SCRIPT = """
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p /sys/fs/cgroup/service/rdev
echo +memory +pids >/sys/fs/cgroup/cgroup.subtree_control
echo $$ >/sys/fs/cgroup/service/rdev/cgroup.procs
.venv/bin/python -m pytest -q -p no:cacheprovider -k "not bash and not busybox" {tests}
echo "pytest ended with $?"
"""


def test_every_limit_holds_under_version_2(tmp_path: Path) -> None:
    if cgroups.find().memory is not None and not Path("/sys/fs/cgroup/memory").exists():
        pytest.skip("this machine has version 2: test_limits.py has shown it")
    if KERNEL is None:
        pytest.skip("no linux.uml: apt-get install user-mode-linux")
    tests = Path(__file__).with_name("test_limits.py").relative_to(SOURCE_ROOT)
    with booted(tmp_path, SCRIPT.format(tests=tests), "cgroup_no_v1=all") as machine:
        seen = said(machine, timeout_s=500)
    assert "pytest ended with 0\n" in seen, seen
    assert "no control group for" not in seen, seen
