"""`rdev audit`: read the log, export it, and check that nobody altered it."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from rdev.cli import options, show
from rdev.cli.connection import connected
from rdev.cli.terminal import STDOUT, complain, die_of_broken_pipe, write_all

if TYPE_CHECKING:
    from rdev.client import AuditFilters, ChainHead, Verdict

audit = typer.Typer(help="Who did what, and whether the record was altered.", no_args_is_help=True)

Key = Annotated[str | None, typer.Option(metavar="ID", help="Done with this key.")]
Action = Annotated[
    str | None, typer.Option(help="Such as key.created, 'command.*' or denied.", metavar="ACTION")
]
Project = Annotated[str | None, typer.Option("--project", "-p", help="In this project.")]
Subject = Annotated[str | None, typer.Option(metavar="ID", help="About this command, key, …")]
Outcome = Annotated[str | None, typer.Option(help="Ended so: a status, or an error's code.")]
Address = Annotated[str | None, typer.Option(help="From this address.")]
Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="From then on, such as 2026-11-24T00:00:00Z.")
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Before then.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="So many, the newest.")]
Head = Annotated[
    str | None,
    typer.Option(metavar="POSITION:HASH", help="An earlier head, to be found in the chain again."),
]


@audit.command("list")
def list_audit(
    *,
    key: Key = None,
    action: Action = None,
    project: Project = None,
    subject: Subject = None,
    outcome: Outcome = None,
    address: Address = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """The newest rows of the log."""
    filters = _filters(key, action, project, subject, outcome, address, since, until)
    with connected(server, key_file) as client:
        found = list(client.audit.list(limit=limit, **filters))
    if as_json:
        show.as_json([row.raw for row in found])
        return
    show.table(
        ("SEQ", "AT", "ACTION", "KEY", "ADDRESS", "PROJECT", "SUBJECT", "OUTCOME"),
        [
            (
                str(row.seq),
                row.at,
                row.action,
                row.key_name or row.key_id,
                row.address,
                row.project,
                row.subject,
                row.outcome,
            )
            for row in found
        ],
    )


@audit.command("export")
def export(
    *,
    key: Key = None,
    action: Action = None,
    project: Project = None,
    subject: Subject = None,
    outcome: Outcome = None,
    address: Address = None,
    since: Since = None,
    until: Until = None,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Every row, newest first, as a line of JSON each."""
    filters = _filters(key, action, project, subject, outcome, address, since, until)
    with connected(server, key_file) as client:
        try:
            for row in client.audit.export(**filters):
                write_all(STDOUT, json.dumps(row.raw).encode() + b"\n")
        except BrokenPipeError:
            die_of_broken_pipe()


@audit.command("verify")
def verify(
    *,
    head: Head = None,
    as_json: options.AsJson = False,
    server: options.Server = None,
    key_file: options.KeyFile = None,
) -> None:
    """Check every row against the hash chain. Exits with 1 where one was altered. Prints the
    chain's head, alone on stdout: keep it elsewhere, and give it as --head another time."""
    known = _parsed(head) if head is not None else None
    with connected(server, key_file) as client:
        verdict = client.audit.verify(known)
    if as_json:
        show.as_json(verdict.raw)
    elif verdict.ok:
        print(verdict.head)
    if not verdict.ok:
        complain(_accusation(verdict))
        raise typer.Exit(1)
    if verdict.unsealed:
        complain(f"{verdict.checked} rows are as written; {verdict.unsealed} are not sealed yet")
    else:
        complain(f"{verdict.checked} rows are as they were written")


def _accusation(verdict: "Verdict") -> str:
    where = f"row {verdict.first_bad_seq}" if verdict.first_bad_seq is not None else "the chain"
    problem = f": {verdict.problem}" if verdict.problem else ""
    return f"the audit log was altered, first at {where}{problem}"


def _parsed(text: str) -> "ChainHead":
    from rdev.client import ChainHead

    try:
        return ChainHead.parse(text)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from None


def _filters(
    key: str | None,
    action: str | None,
    project: str | None,
    subject: str | None,
    outcome: str | None,
    address: str | None,
    since: str | None,
    until: str | None,
) -> "AuditFilters":
    return {
        "key": key,
        "action": action,
        "project": project,
        "subject": subject,
        "outcome": outcome,
        "address": address,
        "since": since,
        "until": until,
    }
