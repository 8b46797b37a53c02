"""A run's report, the same for the terminal and for docs/reliability.md."""

from pathlib import Path

from chaos.run import Outcome

_MARKS = {
    "local": (
        "<!-- the latest run: written by `make chaos` with --write-report -->",
        "<!-- end of the latest run -->",
    ),
    "kubernetes": (
        "<!-- the latest run in pods: written with --workspaces kubernetes --write-report -->",
        "<!-- end of the latest run in pods -->",
    ),
}
_SHOWN = 5


def render(outcome: Outcome) -> str:
    problems = outcome.verdict.problems
    rows = [
        ("seed", outcome.seed),
        ("commands", outcome.commands),
        ("faults", outcome.faults.total()),
        ("times Redis lost all its data", outcome.wipes),
        ("requests that clients had to repeat", _by_status(outcome)),
        ("streams resumed by id", outcome.reconnects),
        ("bytes compared", outcome.verdict.bytes_compared),
        ("of commands that had ended, output that only Redis held", outcome.verdict.not_kept),
        (
            "commands that could not write on a full disk, and said so",
            outcome.verdict.met_full_disk,
        ),
        ("commands that a full disk kept from starting at all", outcome.verdict.never_started),
        *(
            [
                (
                    "commands whose processes a fault killed: lost, and said so",
                    outcome.verdict.truly_lost,
                )
            ]
            if outcome.in_pods
            else []
        ),
        ("seconds", round(outcome.took_s)),
        (
            "**lost** by rdev" if outcome.in_pods else "**lost**",
            _count(problems, "lost", "no end", "did not run"),
        ),
        ("**started twice**", _count(problems, "started twice")),
        ("**bytes wrong** (commands)", _count(problems, *_BYTES)),
        ("**anything else wrong**", _count(problems, *(set(problems) - _NAMED))),
    ]
    lines = ["| what | count |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    lines += ["", "| fault | times |", "|---|---|"]
    lines += [f"| {kind} | {times} |" for kind, times in sorted(outcome.faults.items())]
    lines += [f"| {kind}: cannot be done on this machine | 0 |" for kind in outcome.left_out]
    lines += ["", "| end | commands |", "|---|---|"]
    lines += [f"| {status} | {times} |" for status, times in outcome.statuses.most_common()]
    for what, which in problems.items():
        lines += ["", f"{what} ({len(which)}):", *(f"- {each}" for each in which[:_SHOWN])]
    return "\n".join(lines)


def write_into(path: Path, report: str, workspaces: str = "local") -> None:
    """Replace the part of the page between its two marks."""
    begin, end = _MARKS[workspaces]
    text = path.read_text()
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n{report}\n{end}{after}")


_BYTES = (
    "bytes doubled, missing or out of order",
    "bytes missing in the record",
    "hash in the record is wrong",
    "a reader's bytes are wrong",
    "GET output is wrong",
    "GET output later is wrong",
    "gap announced",
)
_NAMED = {"lost", "no end", "did not run", "started twice", *_BYTES}


def _by_status(outcome: Outcome) -> str:
    counts = outcome.repeated_requests
    parts = [f"{times} x {status or 'no answer'}" for status, times in counts.most_common()]
    return f"{counts.total()} ({', '.join(parts)})" if parts else "0"


def _count(problems: dict[str, list[str]], *names: str) -> int:
    return sum(len(problems.get(name, ())) for name in names)
