"""`rdev keys`: create, list, rotate, revoke, bootstrap."""

from pathlib import Path
from typing import Annotated

import typer

from rdev.cli import options, show
from rdev.cli.connection import connected
from rdev.cli.parts import Home
from rdev.cli.terminal import complain

keys = typer.Typer(help="Create, list, rotate and revoke API keys.", no_args_is_help=True)

Scopes = Annotated[
    list[str],
    typer.Option("--scope", "-s", help="What it may do, such as projects:read. Repeat."),
]
Projects = Annotated[
    list[str] | None,
    typer.Option("--project", "-p", help="Bind it to a project (or a glob). Repeat."),
]
AllowedIps = Annotated[
    list[str] | None,
    typer.Option("--allow-ip", help="Bind it to an address or a CIDR. Repeat."),
]
RateLimit = Annotated[int | None, typer.Option(min=1, help="Requests a second.")]
MaxConcurrent = Annotated[int | None, typer.Option(min=1, help="Commands running at once.")]
ExpiresAt = Annotated[
    str | None, typer.Option(metavar="TIME", help="Such as 2030-01-01T00:00:00Z.")
]


@keys.command("create")
def create(
    name: str,
    *,
    scope: Scopes,
    project: Projects = None,
    allow_ip: AllowedIps = None,
    rate_limit: RateLimit = None,
    max_concurrent: MaxConcurrent = None,
    expires_at: ExpiresAt = None,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Create a key. It is printed once, alone on stdout, and can never be had again."""
    from rdev.client import KeyBody

    body: KeyBody = {}
    if project:
        body["projects"] = project
    if allow_ip:
        body["allowed_ips"] = allow_ip
    if rate_limit is not None:
        body["rate_limit"] = rate_limit
    if max_concurrent is not None:
        body["max_concurrent"] = max_concurrent
    if expires_at is not None:
        body["expires_at"] = expires_at
    with connected(server, key_file) as client:
        created = client.create_key(name, scope, **body)
    if as_json:
        show.as_json(created.raw)
        return
    complain(f"created {created.id}; keep the key, it is shown only now")
    print(created.secret)


@keys.command("list")
def list_keys(
    *,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Every key, without its secret."""
    with connected(server, key_file) as client:
        found = client.keys()
    if as_json:
        show.as_json([key.raw for key in found])
        return
    show.table(
        ("KEY", "NAME", "SCOPES", "PROJECTS", "CREATED", "LAST USED", "EXPIRES", "REVOKED"),
        [
            (
                key.id,
                key.name,
                " ".join(key.scopes),
                " ".join(key.projects),
                key.created_at,
                key.last_used_at,
                key.expires_at,
                key.revoked_at,
            )
            for key in found
        ],
    )


@keys.command("revoke")
def revoke(
    key_id: str,
    *,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Revoke a key, from its next request on. Twice is no error."""
    with connected(server, key_file) as client:
        client.revoke_key(key_id)
    if as_json:
        show.as_json({"id": key_id, "revoked": True})


@keys.command("rotate")
def rotate(
    key_id: str,
    *,
    overlap_s: Annotated[
        int, typer.Option("--overlap-s", min=0, help="For how long the old secret stays good.")
    ] = 86_400,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Give a key another secret. It is printed once, alone on stdout."""
    with connected(server, key_file) as client:
        rotated = client.rotate_key(key_id, overlap_s=overlap_s)
    if as_json:
        show.as_json(rotated.raw)
        return
    complain(f"rotated {key_id}; keep the key, it is shown only now")
    print(rotated.secret)


@keys.command("bootstrap")
def bootstrap(
    *,
    recover: Annotated[
        bool, typer.Option("--recover", help="Also where there are keys: the admin's is lost.")
    ] = False,
    home: Home = Path(".rdev"),
) -> None:
    """Make the first admin key, in the database itself (RDEV_DATABASE_URL, RDEV_PEPPER_FILE, or
    what runs in --home). It is printed once, alone on stdout."""
    from rdev.platform.bootstrap import bootstrap as make
    from rdev.platform.problems import CannotStart

    try:
        secret = make(home, recover=recover)
    except CannotStart as exc:
        complain(str(exc))
        raise typer.Exit(1) from exc
    complain("an admin key was made; keep it, it is shown only now")
    print(secret)
