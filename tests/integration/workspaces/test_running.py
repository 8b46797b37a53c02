"""What a command gets and what is seen of it, where that is exact or large only on this machine.
The rest is in tests/conformance/workspaces."""

import hashlib
import subprocess
import time

from command_ids import MINE, ONE
from rdev.adapters.workspaces.launch_file import DEFAULT_PATH


def test_the_environment_is_built_from_nothing(place, monkeypatch):
    monkeypatch.setenv("RDEV_PEPPER", "secret")
    given = {"GREETING": "it's $HOME\n`x`", "EMPTY": "", "IFS": ":", "dir": "/", "token": "t"}
    _, out, _ = place.run(place.launch("env", "-0", env=given))
    seen = dict(item.split("=", 1) for item in out.decode().rstrip("\0").split("\0"))
    for shells_own in ("PWD", "SHLVL", "_"):
        seen.pop(shells_own, None)
    home = str(place.root)
    assert seen == {
        "PATH": f"{home}/.local/bin:{DEFAULT_PATH}",
        "HOME": home,
        "LANG": "C.UTF-8",
        "RDEV_COMMAND_ID": ONE,
        **given,
    }


def test_large_output_is_whole_at_the_end(place):
    line = "head -c 50000000 /dev/zero | tr '\\0' x; head -c 1000000 /dev/zero >&2"
    code, out, err = place.run(place.sh(line))
    assert code == 0
    assert hashlib.sha256(out).digest() == hashlib.sha256(b"x" * 50_000_000).digest()
    assert err == bytes(1_000_000)


def test_time_to_the_first_byte(place, shell, capsys):
    """Prints what docs/quality asks for; asserts nothing about it."""
    plain, ours = [], []
    for number in range(20):
        begun = time.perf_counter()
        with subprocess.Popen(["sh", "-c", "echo hi"], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.read(1)
            plain.append(time.perf_counter() - begun)
        name = f"{MINE}{number}"
        begun = time.perf_counter()
        place.workspace.start(place.sh("echo hi", id=name))
        while not place.workspace.read(name, "stdout", 0, 10):
            place.workspace.wait(name, 1.0)
        ours.append(time.perf_counter() - begun)
        place.finish(name)
    reference, first = sorted(plain)[10] * 1000, sorted(ours)[10] * 1000
    with capsys.disabled():
        ratio = f"{first:.1f} ms against {reference:.1f} ms: {first / reference:.1f} x"
        print(f"\n{shell}: {ratio}")  # noqa: T201 - it is there to print
