"""`rdev logs`: what a command wrote, and with -f what it goes on writing."""

from typing import TYPE_CHECKING, Annotated

import typer

from rdev.cli import options
from rdev.cli.connection import connected
from rdev.cli.outcome import INTERRUPTED, remark_on, write_event
from rdev.cli.terminal import complain, die_of_broken_pipe

if TYPE_CHECKING:
    from rdev.client import Client, Command

Target = Annotated[
    list[str],
    typer.Argument(
        metavar="[PROJECT] CMD",
        help="A command's id; PROJECT CMD or PROJECT/CMD finds it faster.",
    ),
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the command ends.")]


def logs(
    target: Target,
    *,
    follow: Follow = False,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Show a command's output: its stdout on stdout, its stderr on stderr."""
    project, command_id = parse_target(target)
    with connected(server, key_file) as client:
        command = find(client, project, command_id)
        try:
            if follow or command.final:
                command = _stream(client, command, as_json=as_json)
            else:
                _so_far(client, command, as_json=as_json)
        except BrokenPipeError:
            die_of_broken_pipe()
        except KeyboardInterrupt:  # looking on is all that ends
            raise typer.Exit(INTERRUPTED) from None
    remark = remark_on(command)
    if remark and command.final:
        complain(remark)


def parse_target(words: list[str]) -> tuple[str | None, str]:
    """(project, command) of `CMD`, `PROJECT CMD` or `PROJECT/CMD`."""
    parts = words[0].split("/") if len(words) == 1 else words
    if len(parts) > 2 or not all(parts):  # noqa: PLR2004
        raise typer.BadParameter("give CMD, PROJECT CMD or PROJECT/CMD")
    return (None, parts[0]) if len(parts) == 1 else (parts[0], parts[1])


def find(client: "Client", project: str | None, command_id: str) -> "Command":
    """The command, looked for in every project where none is named: ids are unique."""
    from rdev.client import ClientError, NotFound

    if project is not None:
        return client.command(project, command_id)
    for each in client.projects():
        try:
            return client.command(each.id, command_id)
        except NotFound:
            continue
    raise ClientError(
        f"no project that this key sees has a command {command_id}; "
        "name the project: rdev logs PROJECT/CMD (also for a project that was deleted)"
    )


def _stream(client: "Client", command: "Command", *, as_json: bool) -> "Command":
    from rdev.client import StateChange

    for event in client.events(command.project, command.id):
        write_event(event, as_json=as_json)
        if isinstance(event, StateChange):
            command = event.command
    return command


def _so_far(client: "Client", command: "Command", *, as_json: bool) -> None:
    """Of a command that still runs: its events would go on to its end."""
    for event in client.output_events(command.project, command.id):
        write_event(event, as_json=as_json)
