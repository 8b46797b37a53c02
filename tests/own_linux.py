"""A Linux of a test's own on this machine's files: a kernel that runs as a process
(user-mode-linux), to have what this machine has not, and to have its power cut."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rdev.config import SOURCE_ROOT

KERNEL = shutil.which("linux.uml")

_INIT = """#!/bin/sh
export PATH={path} HOME=/tmp LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
for kind in proc:/proc sysfs:/sys tmpfs:/tmp; do
    mount -t ${{kind%%:*}} none ${{kind#*:}}
done
# This tree may lie in the /tmp that was just covered.
mkdir -p {root} && mount -t hostfs -o ro,{root} none {root}
cd {root} || exit
{script}
sync
echo o >/proc/sysrq-trigger
sleep 60
"""


@contextmanager
def booted(
    folder: Path, script: str, *arguments: str, memory: str = "1G"
) -> "Iterator[subprocess.Popen[bytes]]":
    """It runs `script` as root in this project's folder, on this machine's files, which it can only
    read, with a /tmp of its own, and switches itself off. Its console is the process's stdout.
    `arguments` are the kernel's. However this is left, its power is cut: what it has written to a
    disk stays, what its kernel still had in memory does not."""
    assert KERNEL is not None
    init = folder / "init"
    init.write_text(_INIT.format(path=os.environ["PATH"], root=SOURCE_ROOT, script=script))
    init.chmod(0o755)
    argv = [
        *(KERNEL, f"mem={memory}", "quiet", f"init={init}", *arguments),
        *("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"),
        *("con=null", "con0=fd:0,fd:1", f"uml_dir={folder}"),
    ]
    machine = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
    )
    try:
        yield machine
    finally:
        cut_power(machine)


def said(machine: "subprocess.Popen[bytes]", timeout_s: float) -> str:
    """All that its console said until it was switched off."""
    output, _ = machine.communicate(timeout=timeout_s)
    return output.decode(errors="replace").replace("\r", "")


def cut_power(machine: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(machine.pid, signal.SIGKILL)
    machine.wait()
    if machine.stdout is not None:
        machine.stdout.close()
