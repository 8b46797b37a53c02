"""Audit: who did what, when, from where; and whether the record was altered."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import flask
import functions_framework
from flask import Blueprint, Response, request

from rdev import wiring
from rdev.domain.audit import AuditRow
from rdev.domain.instants import timestamp
from rdev.http import envelope, parsing
from rdev.http.audit_models import AuditQuery, VerifyQuery
from rdev.http.auth import require
from rdev.http.function import install, no_such_route

blueprint = Blueprint("audit", __name__, url_prefix="/audit")

_JSON = "application/json"
_NDJSON = "application/x-ndjson"
_LINES = 100
"""Sent at once."""


@blueprint.get("")
def list_audit() -> Response:
    """List the audit log, newest first; all of it as NDJSON by `Accept`."""
    by = require("audit:read")
    page = parsing.query(AuditQuery)
    if request.accept_mimetypes.best_match([_JSON, _NDJSON]) == _NDJSON:
        rows = wiring.audit().export(by, page.filters(), before=page.before)
        return Response(_lines(rows), mimetype=_NDJSON)
    found = wiring.audit().list(by, page.filters(), before=page.before, limit=page.limit + 1)
    shown = found[: page.limit]
    cursor = str(shown[-1].seq) if len(found) > page.limit else None
    return envelope.data([_shown(row) for row in shown], next_cursor=cursor)


@blueprint.get("/verify")
def verify_audit() -> Response:
    """Check the audit log against its hash chain, for some seconds a request."""
    by = require("audit:read")
    asked = parsing.query(VerifyQuery)
    verdict = wiring.audit().verify(
        by, known_position=asked.position, known_hash=asked.hash, after=asked.after
    )
    return envelope.data(
        {
            "ok": verdict.ok,
            "problem": verdict.problem,
            "first_bad_seq": verdict.first_bad_seq,
            "checked": verdict.checked,
            "unsealed": verdict.unsealed,
            "head": {"position": verdict.head_position, "hash": verdict.head_hash},
            "next_cursor": verdict.rest.text() if verdict.rest else None,
        }
    )


def _lines(rows: Iterable[AuditRow]) -> Iterator[bytes]:
    encoded = (json.dumps(_shown(row)).encode() + b"\n" for row in rows)
    while piece := b"".join(islice(encoded, _LINES)):
        yield piece


def _shown(row: AuditRow) -> dict[str, Any]:
    entry = row.entry
    return {
        "seq": row.seq,
        "at": timestamp(row.at),
        "action": entry.action,
        "key_id": entry.key_id,
        "key_name": entry.key_name,
        "address": entry.address,
        "request_id": entry.request_id,
        "project": entry.project_id,
        "subject": entry.subject,
        "outcome": entry.outcome,
        "details": dict(entry.details),
        "position": row.position,
        "hash": row.hash,
    }


install(blueprint)


@functions_framework.http
def audit(request: flask.Request) -> Response:
    """Whatever no route above takes."""
    return no_such_route(request)
