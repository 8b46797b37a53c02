"""`rdev webhooks`: endpoints, what was delivered to them, and trying them out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rdev.cli import options, show
from rdev.cli.connection import connected
from rdev.cli.terminal import complain
from rdev.cli.webhooks_listen import listen

webhooks = typer.Typer(help="Tell other systems what happens.", no_args_is_help=True)
webhooks.command("listen")(listen)

Events = Annotated[
    list[str] | None,
    typer.Option("--event", "-e", help="What it is told of, such as 'command.*'. Repeat."),
]
Projects = Annotated[
    list[str] | None,
    typer.Option("--project", "-p", help="Of these projects (or globs) alone. Repeat."),
]
Description = Annotated[str | None, typer.Option(help="What it is for.")]
MaxConcurrent = Annotated[int | None, typer.Option(min=1, help="Requests to it at once.")]
SecretFile = Annotated[
    Path | None,
    # No --secret: arguments can be read by everybody on the machine.
    typer.Option("--secret-file", metavar="PATH", help="A file with a secret of your own."),
]


@webhooks.command("create")
def create(
    url: str,
    *,
    event: Events = None,
    project: Projects = None,
    description: Description = None,
    max_concurrent: MaxConcurrent = None,
    secret_file: SecretFile = None,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Create an endpoint. Its secret is printed once, alone on stdout."""
    body = _given(events=event, projects=project, description=description)
    body |= _given(max_concurrent=max_concurrent)
    if secret_file is not None:
        try:
            body["secret"] = secret_file.read_text().strip()
        except OSError as exc:
            complain(f"the secret file {secret_file} cannot be read: {exc.strerror}")
            raise typer.Exit(1) from None
    with connected(server, key_file) as client:
        made = client.webhooks.create(url, **body)
    if as_json:
        show.as_json(made.raw)
        return
    complain(f"created {made.id}; keep the secret, it is shown only now")
    print(made.secret)


@webhooks.command("list")
def list_webhooks(
    *,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Every endpoint, and whether it works."""
    with connected(server, key_file) as client:
        found = list(client.webhooks.list())
    if as_json:
        show.as_json([each.raw for each in found])
        return
    show.table(
        ("WEBHOOK", "STATUS", "EVENTS", "PROJECTS", "URL"),
        [
            (each.id, each.status, " ".join(each.events), " ".join(each.projects), each.url)
            for each in found
        ],
    )


@webhooks.command("get")
def get(
    webhook_id: str,
    *,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """An endpoint and how it fares, as JSON."""
    with connected(server, key_file) as client:
        show.as_json(client.webhooks.get(webhook_id).raw)


@webhooks.command("update")
def update(
    webhook_id: str,
    *,
    url: Annotated[str | None, typer.Option(help="Another address.")] = None,
    event: Events = None,
    project: Projects = None,
    description: Description = None,
    max_concurrent: MaxConcurrent = None,
    paused: Annotated[
        bool | None, typer.Option("--pause/--resume", help="Paused, it loses nothing.")
    ] = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Disabled, it has to recover.")
    ] = None,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Change an endpoint; what is not named stays as it is."""
    changes = _given(url=url, events=event, projects=project, description=description)
    changes |= _given(max_concurrent=max_concurrent, paused=paused, enabled=enabled)
    if not changes:
        complain("name what is to change; see --help")
        raise typer.Exit(2)
    with connected(server, key_file) as client:
        changed = client.webhooks.update(webhook_id, **changes)
    show.as_json(changed.raw)


@webhooks.command("delete")
def delete(
    webhook_id: str,
    *,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Delete an endpoint, with the record of what was sent to it."""
    with connected(server, key_file) as client:
        client.webhooks.delete(webhook_id)


@webhooks.command("rotate")
def rotate(
    webhook_id: str,
    *,
    overlap: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="For how long both sign; a day.")
    ] = None,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Give an endpoint a new secret: printed once, alone on stdout."""
    with connected(server, key_file) as client:
        rotated = client.webhooks.rotate(webhook_id, overlap)
    if as_json:
        show.as_json(rotated.raw)
        return
    print(rotated.secret)


@webhooks.command("test")
def send_test(
    webhook_id: str,
    *,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Send a `test` event; prints the delivery's id."""
    with connected(server, key_file) as client:
        print(client.webhooks.test(webhook_id).id)


@webhooks.command("deliveries")
def deliveries(
    webhook_id: Annotated[str | None, typer.Argument()] = None,
    *,
    state: Annotated[str | None, typer.Option(help="pending, succeeded or exhausted.")] = None,
    event: Annotated[str | None, typer.Option("--event", "-e", help="Of this type.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="From then on.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 50,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """What was sent, the newest first; of one endpoint or of all."""
    with connected(server, key_file) as client:
        every = client.webhooks.deliveries(webhook_id, state=state, type=event, since=since)
        found = [each for each, _ in zip(every, range(limit), strict=False)]
    if as_json:
        show.as_json([each.raw for each in found])
        return
    show.table(
        ("DELIVERY", "EVENT", "STATE", "ATTEMPTS", "LAST", "CREATED", "NEXT"),
        [
            (
                each.id,
                each.type,
                each.state,
                str(each.attempts),
                str(each.last_status or each.last_error or "-"),
                each.created_at,
                each.next_attempt_at,
            )
            for each in found
        ],
    )


@webhooks.command("redeliver")
def redeliver(
    delivery_id: str,
    *,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Deliver one again, now, under the same webhook-id."""
    with connected(server, key_file) as client:
        client.webhooks.redeliver(delivery_id)


@webhooks.command("recover")
def recover(
    webhook_id: str,
    *,
    since: Annotated[str, typer.Option(metavar="TIME", help="Such as 2026-11-24T00:00:00Z.")],
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Deliver what an endpoint was never told of since a time; prints how many that are."""
    with connected(server, key_file) as client:
        print(client.webhooks.recover(webhook_id, since))


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
