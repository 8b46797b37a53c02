"""What the commands of a chaos run do in pods. No Python is there, so what they write is cut out of
one file of known bytes that lies in each workspace; pod_load.sh does it."""

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from chaos.client import Case
from chaos.load import MOST_BYTES, TEXT, Work

SCRIPT = Path(__file__).with_name("pod_load.sh")
_BLOCK = 4096
_BLOCKS = 128
"""Where text begins, and as many further on where other bytes do."""
_HALF = MOST_BYTES + _BLOCK * (2 * _BLOCKS)
_HALF_BLOCKS = -(-_HALF // _BLOCK)


@cache
def blob() -> bytes:
    """First text, then other bytes."""
    lines, have, size = [], 0, _HALF_BLOCKS * _BLOCK
    while have < size:
        lines.append((TEXT % len(lines)).encode())
        have += len(lines[-1])
    return b"".join(lines)[:size] + random.Random(1).randbytes(size)


def _blocks(work: Work) -> dict[str, int]:
    """Where in the blob each stream begins."""
    first = 0 if work.text else _HALF_BLOCKS
    out, err = divmod(work.seed % _BLOCKS**2, _BLOCKS)
    return {"stdout": first + out, "stderr": first + err}


@dataclass
class PodCase(Case):
    def written(self) -> dict[str, bytes]:
        work = self.work
        return {
            name: blob()[block * _BLOCK : block * _BLOCK + getattr(work, name)]
            for name, block in _blocks(work).items()
        }

    def line(self, folder: Path) -> str:
        work, at = self.work, _blocks(self.work)
        steps = 8 if work.seconds else 1
        words = (
            *(self.tag, at["stdout"], work.stdout, at["stderr"], work.stderr),
            *(steps, f"{work.seconds / steps:g}", work.ends, work.child or "none", work.exit_code),
        )
        return f"sh load.sh {' '.join(str(word) for word in words)}"
