"""`python -m bench`, from tests/: every measurement against its reference, in one table.

    python -m bench             all of it
    python -m bench webhooks    only that module

Ratios are what counts: reference and rdev run in turn, on the same machine, in the same minute.
Nothing is asserted; a goal that was missed is marked.
"""

import argparse
import importlib
import signal
import sys
from collections.abc import Iterable

from bench.rows import HEADINGS, Row

MODULES = (
    "api_requests",
    "cold_start",
    "commands_in_pods",
    "exec_in_pods",
    "first_output",
    "projects_in_pods",
    "queue",
    "tracing",
    "webhooks",
    "webhooks_beside_a_dead_one",
)
"""Each has a `rows()` that measures and gives its rows of the table, one at a time."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(MODULES))
    asked = parser.parse_args().modules or MODULES
    unknown = [name for name in asked if name not in MODULES]
    if unknown:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(MODULES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is to end with us
    rows: list[Row] = []
    for name in asked:
        print(f"{name} …", file=sys.stderr, flush=True)
        rows += importlib.import_module(f"bench.{name}").rows()
    print("\n".join(_lines(rows)))
    return 0


def _lines(rows: Iterable[Row]) -> list[str]:
    cells = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(HEADINGS))]
    lines = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    return [lines[0], "-|-".join("-" * width for width in widths), *lines[1:]]


if __name__ == "__main__":
    sys.exit(main())
