"""`python -m chaos`: a run, its report, and exit code 1 where anything was not as it must be."""

import argparse
import secrets
import signal
import sys
from pathlib import Path

from chaos.report import render, write_into
from chaos.run import run
from rdev.config import SOURCE_ROOT

_DOCS = Path(SOURCE_ROOT) / "docs" / "reliability.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--commands", type=int, default=500)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--unsafe", default="", help="start_token, epoch or append: turned off")
    parser.add_argument("--workspaces", choices=("local", "kubernetes"), default="local")
    parser.add_argument("--write-report", action="store_true", help=f"into {_DOCS}")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the parts are to end with us
    seed = secrets.randbelow(10**6) if asked.seed is None else asked.seed
    print(f"seed {seed}", flush=True)
    outcome = run(
        commands=asked.commands,
        faults=asked.faults,
        seed=seed,
        unsafe=asked.unsafe,
        workspaces=asked.workspaces,
    )
    report = render(outcome)
    print(report)
    if asked.write_report:
        write_into(_DOCS, report, asked.workspaces)
    return 0 if outcome.verdict.good else 1


sys.exit(main())
