"""Answers on stdout: a table for people, tab-separated lines for pipes, JSON for programs."""

import json
import sys
from collections.abc import Sequence
from typing import Any


def as_json(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=2)
    # What others wrote steers no terminal; to a program it is the same.
    print("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))


def table(columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> None:
    """Rows under headings on a terminal. Into a pipe: no headings, one tab between the fields,
    nothing cut off."""
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(_clean(cell) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(_clean(cell)) for cell in row))
    Console().print(drawn)


def _clean(cell: str | None) -> str:
    return "".join(c if c.isprintable() else " " for c in cell or "-")
