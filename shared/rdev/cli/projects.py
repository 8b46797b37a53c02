"""`rdev projects`: list, create, delete."""

import sys
from typing import Annotated

import typer

from rdev.cli import options, show
from rdev.cli.connection import connected
from rdev.cli.run import Env, variables

projects = typer.Typer(help="List, create and delete projects.", no_args_is_help=False)


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
    rows = [(each.id, each.workspace, each.git_url, each.created_at) for each in found]
    show.table(("PROJECT", "WORKSPACE", "GIT URL", "CREATED"), rows)


@projects.command("create")
def create(
    project: str,
    *,
    git_url: Annotated[
        str | None, typer.Option("--git-url", help="Clone this into the workspace.")
    ] = None,
    env: Env = None,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Create a project and its workspace."""
    given = variables(env) if env else None
    with connected(server, key_file) as client:
        created = client.create_project(project, git_url, given)
    if as_json:
        show.as_json(created.raw)
    else:
        print(created.id)


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
