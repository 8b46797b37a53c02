"""The `rdev` command. Only wiring: each command has its own module.

Start-up counts here, since a script may call it in a loop: httpx and rich are imported by the
commands that need them.
"""

from typing import Annotated

import typer

from rdev.cli import parts
from rdev.cli.audit import audit
from rdev.cli.cancel import cancel
from rdev.cli.doctor import doctor
from rdev.cli.keys import keys
from rdev.cli.list_commands import list_commands
from rdev.cli.logs import logs
from rdev.cli.projects import projects
from rdev.cli.run import run
from rdev.cli.show_command import show_command
from rdev.cli.webhooks import webhooks

app = typer.Typer(
    name="rdev",
    help="Run a command in any of your projects, from anywhere, and lose nothing.",
    no_args_is_help=True,
    # Its tracebacks show local variables, and one of them may be a key.
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from rdev import __version__

        print(f"rdev {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Say which version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


app.command("run")(run)
app.command("logs")(logs)
app.command("show")(show_command)
app.command("list")(list_commands)
app.command("cancel")(cancel)
app.add_typer(projects, name="projects")
app.add_typer(keys, name="keys")
app.add_typer(webhooks, name="webhooks")
app.add_typer(audit, name="audit")
app.command("doctor")(doctor)
app.command("up")(parts.up)
app.command("functions", hidden=True)(parts.functions)
app.command("runner", hidden=True)(parts.runner)
app.command("triggers", hidden=True)(parts.triggers)

if __name__ == "__main__":
    app()
