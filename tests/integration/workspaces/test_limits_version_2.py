"""The same limits under control groups of version 2, where this machine has version 1: in a Linux
of the test's own, a kernel that runs as a process (user-mode-linux) on this machine's files."""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from rdev.adapters.workspaces import cgroups
from rdev.config import SOURCE_ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KERNEL = shutil.which("linux.uml")

# Not in the root's group, as no service is: rdev's own group cannot hand the controllers down, so
# those of commands have to stand beside it.
INIT = """#!/bin/sh
export PATH={path} HOME=/tmp LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
for kind in proc:/proc sysfs:/sys tmpfs:/tmp cgroup2:/sys/fs/cgroup; do
    mount -t ${{kind%%:*}} none ${{kind#*:}}
done
# This tree may lie in the /tmp that was just covered.
mkdir -p {root} && mount -t hostfs -o ro,{root} none {root}
mkdir -p /sys/fs/cgroup/service/rdev
echo +memory +pids >/sys/fs/cgroup/cgroup.subtree_control
echo $$ >/sys/fs/cgroup/service/rdev/cgroup.procs
cd {root} &&
.venv/bin/python -m pytest -q -p no:cacheprovider -k "not bash and not busybox" {tests}
echo "pytest ended with $?"
echo o >/proc/sysrq-trigger
sleep 60
"""


def test_every_limit_holds_under_version_2(tmp_path: Path) -> None:
    if cgroups.find().memory is not None and not Path("/sys/fs/cgroup/memory").exists():
        pytest.skip("this machine has version 2: test_limits.py has shown it")
    if KERNEL is None:
        pytest.skip("no linux.uml: apt-get install user-mode-linux")
    init = tmp_path / "init"
    tests = Path(__file__).with_name("test_limits.py").relative_to(SOURCE_ROOT)
    init.write_text(INIT.format(path=os.environ["PATH"], root=SOURCE_ROOT, tests=tests))
    init.chmod(0o755)
    seen = _boot(
        *(KERNEL, "mem=1G", "quiet", "cgroup_no_v1=all", f"init={init}"),
        *("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"),
        *("con=null", "con0=fd:0,fd:1", f"uml_dir={tmp_path}"),
    )
    assert "pytest ended with 0\n" in seen, seen
    assert "no control group for" not in seen, seen


def _boot(*argv: str) -> str:
    """All that its console said until it was switched off."""
    machine = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
    )
    try:
        said, _ = machine.communicate(timeout=500)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(machine.pid, signal.SIGKILL)
        machine.wait()
    return said.decode(errors="replace").replace("\r", "")
