"""What the commands of a chaos run do: bytes and an exit code that follow from a seed alone.

Runs inside a workspace too (`python load.py JSON`), so it needs nothing but the standard library.
"""

import errno
import json
import os
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

# Characters of one to four bytes, so that cuts fall into the middle of some.
TEXT = "Zeile %d: größer als α, 小さい, und 🚀 fliegt davon.\n"  # noqa: RUF001 - see above
MOST_BYTES = 2_000_000
NO_SPACE = 28
"""Its exit code where it could not write what it was to write."""


@dataclass(frozen=True)
class Work:
    """One command's doings. `ends`: by itself, or only when rdev ends it (cancel, timeout)."""

    seed: int
    stdout: int = 0
    stderr: int = 0
    text: bool = False
    seconds: float = 0.0
    exit_code: int = 0
    ends: str = "itself"
    child: str = ""
    """`fork`: one that ends; `setsid`: one that escapes the group and holds the files open."""
    gate: str = ""
    """A file: half-way it waits until that is there."""

    def as_json(self) -> str:
        return json.dumps(asdict(self))


def any_work(random_: random.Random, ends: str) -> Work:
    """One at random: most are small and quick, some large, some slow."""
    sizes = [0, 1, 17, 1000, 33_000, 300_000, random_.randrange(MOST_BYTES)]
    return Work(
        seed=random_.randrange(2**32),
        stdout=random_.choices(sizes, [2, 2, 4, 6, 4, 2, 1])[0],
        stderr=random_.choices(sizes, [8, 2, 4, 4, 2, 1, 0])[0],
        text=random_.random() < 0.5,
        seconds=random_.choices([0.0, 0.2, 1.0, 4.0], [8, 4, 3, 2])[0],
        exit_code=random_.choices([0, 1, 3, 77], [6, 1, 1, 1])[0],
        ends=ends,
        child=random_.choices(["", "fork", "setsid"], [6, 1, 1])[0],
    )


def written(work: Work) -> dict[str, bytes]:
    """All that it writes to `stdout` and `stderr`."""
    source = random.Random(work.seed)
    return {name: _bytes(source, work.text, getattr(work, name)) for name in ("stdout", "stderr")}


def _bytes(source: random.Random, text: bool, size: int) -> bytes:
    if not text:
        return source.randbytes(size)
    first = source.randrange(10**9)
    lines, have = [], 0
    while have < size:
        lines.append((TEXT % (first + len(lines))).encode())
        have += len(lines[-1])
    return b"".join(lines)[:size]


def _perform(work: Work) -> None:
    if work.child:
        _beget(escape=work.child == "setsid")
    output = written(work)
    steps = 8 if work.seconds else 1
    for step in range(steps):
        while step == steps // 2 and work.gate and not Path(work.gate).exists():
            time.sleep(0.02)
        for name, fd in (("stdout", 1), ("stderr", 2)):
            data = output[name]
            piece = data[len(data) * step // steps : len(data) * (step + 1) // steps]
            while piece:
                piece = piece[_write(fd, piece) :]
        time.sleep(work.seconds / steps)
    if work.ends != "itself":
        time.sleep(600)
    os._exit(work.exit_code)


def _write(fd: int, data: bytes) -> int:
    try:
        return os.write(fd, data)
    except OSError as exc:
        if exc.errno != errno.ENOSPC:
            raise
        os._exit(NO_SPACE)


def _beget(*, escape: bool) -> None:
    if os.fork() == 0:
        if escape:
            os.setsid()
            time.sleep(600)
        os._exit(0)


if __name__ == "__main__":
    _perform(Work(**json.loads(sys.argv[1])))
