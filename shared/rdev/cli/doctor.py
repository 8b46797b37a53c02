"""`rdev doctor`: what is wrong with a deployment, and what to do."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rdev.cli import options, show
from rdev.cli.connection import Unconfigured, resolve
from rdev.cli.parts import Home
from rdev.cli.terminal import complain

if TYPE_CHECKING:
    from rdev.doctor.findings import Finding

_COLUMNS = ("WHERE", "CHECK", "", "FOUND", "WHAT TO DO")


def doctor(
    *,
    inside: Annotated[
        bool, typer.Option("--inside", help="Only by the deployment's own settings.")
    ] = False,
    outside: Annotated[bool, typer.Option("--outside", help="Only by its URL and a key.")] = False,
    home: Home = Path(".rdev"),
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Look for what is wrong with a deployment, and say what to do. Exits with 1 if something is.

    From outside it asks the API as you do. From inside it asks the stores that RDEV_DATABASE_URL
    and the other settings name; without them those of `rdev up` in --home, where there is one.
    """
    from rdev.doctor.report import as_json as in_json
    from rdev.doctor.report import failed

    both = inside == outside
    found = [
        *(_outside(home, server, key_file) if outside or both else ()),
        *(_inside(home, asked=inside) if inside or both else ()),
    ]
    if as_json:
        print(in_json(found))
    else:
        show.table(
            _COLUMNS,
            [(each.where, each.check, each.level, each.found, each.todo) for each in found],
        )
    raise typer.Exit(int(failed(found)))


def _outside(home: Path, server: str | None, key_file: Path | None) -> "Iterator[Finding]":
    from rdev.doctor.findings import Finding, Level, examine
    from rdev.doctor.outside import Outside

    try:
        access = resolve(server, key_file, {**os.environ, "RDEV_HOME": str(home)})
    except Unconfigured as exc:
        yield Finding("outside", "key", Level.FAIL, str(exc))
        return
    looker = Outside(access.server, access.api_key)
    try:
        yield from examine("outside", looker.checks(), [access.api_key])
    finally:
        looker.close()


def _inside(home: Path, *, asked: bool) -> "Iterator[Finding]":
    from rdev.doctor.findings import examine
    from rdev.doctor.inside import Inside
    from rdev.platform.layout import find
    from rdev.platform.parts import Stores
    from rdev.platform.problems import CannotStart
    from rdev.platform.up import configure

    if "RDEV_DATABASE_URL" not in os.environ:
        try:
            layout = find(home)
            configure(layout, Stores.of(layout))
        except (CannotStart, OSError) as exc:
            if asked:
                complain(str(exc))
                raise typer.Exit(1) from None
            complain("not looked at from inside: no RDEV_DATABASE_URL, and no `rdev up` here")
            return
    looker = Inside()
    yield from examine("inside", looker.checks(), looker.secrets())
