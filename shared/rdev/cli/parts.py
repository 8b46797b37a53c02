"""`rdev up`, and the parts that it starts. Each imports what it runs only when it runs."""

from pathlib import Path
from typing import Annotated

import typer

Home = Annotated[
    Path, typer.Option("--home", envvar="RDEV_HOME", help="Where its data, key and logs lie.")
]
Host = Annotated[str, typer.Option("--host", envvar="RDEV_HOST", help="The address to listen on.")]
Port = Annotated[
    int, typer.Option("--port", envvar="PORT", min=1, max=65535, help="The port to listen on.")
]


def up(home: Home = Path(".rdev"), host: Host = "127.0.0.1", port: Port = 8080) -> None:
    """Start everything on this machine: stores, API, runner. Ctrl-C ends it."""
    from rdev.platform.up import up as start

    raise typer.Exit(start(home, host, port))


def functions(host: Host = "127.0.0.1", port: Port = 8080) -> None:
    """Serve every function but the runner on one port. `rdev up` starts this."""
    from rdev.platform.functions import serve

    serve(host, port)


def runner() -> None:
    """Take commands from the queue and see them through. `rdev up` starts this."""
    from rdev.platform.resident import run

    run()


def triggers() -> None:
    """Send the wake-ups that a cluster's Broker would send. `rdev up` starts this."""
    from rdev.platform.triggers import run

    run()
