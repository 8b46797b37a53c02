"""`rdev cancel`: ask for a command's end."""

import sys

from rdev.cli import options, show
from rdev.cli.connection import connected
from rdev.cli.logs import Target, find, parse_target


def cancel(
    target: Target,
    *,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Cancel a command that waits or runs. One that has ended stays as it is."""
    project, command_id = parse_target(target)
    with connected(server, key_file) as client:
        if project is None:
            project = find(client, None, command_id).project
        command = client.cancel(project, command_id)
    if as_json:
        show.as_json(command.raw)
        return
    print(f"{command.id} is {command.status}")
    if not command.final:
        print(f"Its end was asked for: rdev logs -f {project}/{command.id}", file=sys.stderr)
