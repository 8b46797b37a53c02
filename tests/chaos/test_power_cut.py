"""`rdev up` on a machine whose power is cut just after a command began, and then while many begin
and end: a Linux of the test's own, whose disk keeps what was written to it and nothing that its
kernel still had in memory."""

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pytest

from live_stack import wait_for
from own_linux import KERNEL, booted, said

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

_SCRIPT = """
mount -t ext4 /dev/ubda /var/lib || exit
mkdir /tmp/ledger && mount -t hostfs -o {ledger} none /tmp/ledger
cd tests && {environment} PYTHONPATH=. ../.venv/bin/python -m chaos.power_cut_guest {what} \\
    >>/tmp/ledger/guest.log 2>&1 || echo $? >/tmp/ledger/failed
{then}
"""


class Machine:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk, self.ledger = folder / "disk", folder / "ledger"
        self.ledger.mkdir()
        with self.disk.open("wb") as file:
            file.truncate(2 << 30)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.disk], check=True, timeout=60)

    def told(self, name: str) -> list[str]:
        path = self.ledger / name
        return path.read_text().splitlines() if path.exists() else []

    def _told_of(self, load: str, count: int) -> bool:
        """Whether so many of this load's commands have begun and were accepted."""
        of = f"{load}-"
        told = [sum(of in line for line in self.told(name)) for name in ("starts", "accepted")]
        return min(told) >= count

    def starts(self) -> Counter[str]:
        """How often each command was started, by its tag."""
        return Counter(self.told("starts"))

    def ends(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.told("ends")]

    def loses_power(
        self,
        load: str,
        *,
        clients: int,
        count: int,
        starts: int,
        seconds: str,
        later_s: float = 0.0,
        fail_points: str = "",
    ) -> None:
        """As soon as so many commands of these clients have begun, and their clients have told
        that they were accepted, or that much later. What was accepted before is seen through."""
        what = f"{load} {clients} {count} {seconds}"
        with self._booted(what, f"RDEV_FAIL_POINTS={fail_points}", "sleep 900") as machine:
            self._waits(machine, lambda: self._told_of(load, starts))
            time.sleep(later_s)

    def comes_back(self) -> None:
        """And sees everything through that was accepted."""
        with self._booted("", "") as machine:
            self._waits(machine, lambda: bool(self.told("done")))

    def _waits(self, machine: "subprocess.Popen[bytes]", condition: Callable[[], bool]) -> None:
        """Fails with all that was said in the machine, where this is not so in a long time."""

        def over() -> bool:
            return condition() or machine.poll() is not None or bool(self.told("failed"))

        with suppress(AssertionError):
            wait_for(over, 900)
        if not condition():
            with suppress(ProcessLookupError):
                os.killpg(machine.pid, signal.SIGKILL)
            logs = [line for name in ("guest.log", "up.log") for line in self.told(name)]
            pytest.fail("\n".join([said(machine, timeout_s=10), *logs]))

    def _booted(
        self, what: str, environment: str, then: str = ""
    ) -> AbstractContextManager["subprocess.Popen[bytes]"]:
        # Each boot tells of all that was accepted before it.
        for name in ("ends", "done", "failed"):
            (self.ledger / name).unlink(missing_ok=True)
        script = _SCRIPT.format(ledger=self.ledger, what=what, environment=environment, then=then)
        return booted(self.folder, script, f"ubd0={self.disk}", memory="2G")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    if KERNEL is None:
        pytest.skip("no linux.uml: apt-get install user-mode-linux")
    return Machine(tmp_path)


def test_power_cuts_start_nothing_twice_and_lose_no_byte(machine: Machine) -> None:
    # One that runs on: with its end, its token would be put on the disk.
    machine.loses_power(
        "alone", clients=1, count=1, seconds="600", starts=1, fail_points="stop:start.after"
    )
    machine.loses_power(
        "load", clients=4, count=1000, seconds="0 0.1 1", starts=20, later_s=random.random()
    )
    accepted = machine.told("accepted")
    machine.comes_back()
    ends, starts = machine.ends(), machine.starts()
    assert [f"{end['id']} {end['tag']}" for end in ends] == accepted
    assert set(starts.values()) == {1}
    began_a_moment_before, *under_load = ends
    assert began_a_moment_before["tag"] == "alone-0-0"
    assert began_a_moment_before["status"] == "lost"
    # The second where its token had reached the disk.
    assert began_a_moment_before["reason"] in ("workspace_lost", "killed_outside")
    assert {end["status"] for end in under_load} - {"lost"} == {"succeeded"}
    for end in under_load:
        if end["status"] == "succeeded":
            assert starts[end["tag"]] == 1, end
            written = hashlib.sha256(f"out-{end['tag']}\n".encode()).hexdigest()
            assert end["output"]["sha256"]["stdout"] == written
            assert end["read_sha256"] == written
