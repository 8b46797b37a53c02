"""`rdev list`: the latest commands, of one project or of all."""

import shlex
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from rdev.cli import options, show
from rdev.cli.connection import connected

if TYPE_CHECKING:
    from rdev.client import Command

Status = Annotated[
    str | None,
    typer.Option("--status", help="Only these, such as queued, running, failed or lost."),
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Queued then or later (RFC 3339).")
]
Count = Annotated[int, typer.Option("--count", "-n", min=1, help="How many at most.")]


def list_commands(
    project: Annotated[str | None, typer.Argument(help="Else all that your key sees.")] = None,
    *,
    status: Status = None,
    since: Since = None,
    count: Count = 20,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """List the latest commands, the newest first."""
    with connected(server, key_file) as client:
        projects = [project] if project else [each.id for each in client.projects()]
        found = [
            command
            for each in projects
            for command in islice(client.commands(each, status=status, since=since), count)
        ]
    found.sort(key=lambda command: command.queued_at or "", reverse=True)
    if as_json:
        show.as_json([command.raw for command in found[:count]])
        return
    show.table(
        ("COMMAND", "PROJECT", "STATUS", "EXIT", "QUEUED", "WHAT"),
        [tuple(_row(command)) for command in found[:count]],
    )


def _row(command: "Command") -> Iterator[str | None]:
    yield command.id
    yield command.project
    yield command.status
    yield None if command.exit_code is None else str(command.exit_code)
    yield command.queued_at
    yield _what(command)


def _what(command: "Command") -> str | None:
    """As it would be typed."""
    asked = command.raw
    if command.kind == "git":
        return shlex.join(["git", *asked.get("args", ())])
    if command.kind == "claude":
        return shlex.join(["claude", asked.get("prompt") or ""])
    return asked.get("command")
