"""The options that every command shares, and how `--json` is spelt."""

from pathlib import Path
from typing import Annotated

import typer

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="The server; else RDEV_SERVER, else the file that `rdev up` wrote.",
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="PATH",
        # No --key: arguments can be read by everybody on the machine.
        help="A file with the API key; else RDEV_API_KEY, RDEV_API_KEY_FILE or that file.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
