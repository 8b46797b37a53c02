"""`rdev projects`: list, create, stop, start, delete."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rdev.cli import options, show
from rdev.cli.connection import connected
from rdev.cli.run import Env, variables

if TYPE_CHECKING:  # it brings an HTTP client along
    from rdev.client.records import Project

projects = typer.Typer(help="List, create, stop, start and delete projects.", no_args_is_help=False)


@projects.callback(invoke_without_command=True)
def default(
    context: typer.Context,
    *,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    if context.invoked_subcommand is None:
        list_projects(as_json=as_json, server=server, key_file=key_file)


@projects.command("list")
def list_projects(
    *,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Every project that your key may see."""
    with connected(server, key_file) as client:
        found = client.projects()
    if as_json:
        show.as_json([project.raw for project in found])
        return
    rows = [
        (each.id, each.workspace, each.git_url, each.created_at, _state(each), each.message)
        for each in found
    ]
    show.table(("PROJECT", "WORKSPACE", "GIT URL", "CREATED", "STATE", "WHY"), rows)


@projects.command("create")
def create(
    project: str,
    *,
    git_url: Annotated[
        str | None, typer.Option("--git-url", help="Clone this into the workspace.")
    ] = None,
    template: Annotated[
        str | None, typer.Option("--template", help="Make the workspace from this template.")
    ] = None,
    env: Env = None,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Create a project and its workspace."""
    given = variables(env) if env else None
    with connected(server, key_file) as client:
        created = client.create_project(project, git_url, given, template=template)
    if as_json:
        show.as_json(created.raw)
    else:
        print(created.id)


@projects.command("start")
def start(
    project: str,
    *,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Have a project's workspace started."""
    with connected(server, key_file) as client:
        _tell(client.start_project(project), as_json=as_json)


@projects.command("stop")
def stop(
    project: str,
    *,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Have a project's workspace go to zero. Its files are kept; the next command starts it."""
    with connected(server, key_file) as client:
        _tell(client.stop_project(project), as_json=as_json)


@projects.command("delete")
def delete(
    project: str,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Delete a project, its workspace and all its files."""
    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter("this deletes all files of the project: add --yes")
    if not yes:
        typer.confirm(f"Delete {project} with all its files?", abort=True, err=True)
    with connected(server, key_file) as client:
        client.delete_project(project)
    if as_json:
        show.as_json({"id": project, "deleted": True})


def _tell(project: "Project", *, as_json: bool) -> None:
    if as_json:
        show.as_json(project.raw)
        return
    print(f"{project.id} is {_state(project)}")
    if project.message:
        print(project.message, file=sys.stderr)


def _state(project: "Project") -> str | None:
    return f"{project.state} (not certain)" if project.stale else project.state
