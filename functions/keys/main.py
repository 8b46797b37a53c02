"""Keys: create, list, get, revoke API keys."""

from typing import Any

import flask
import functions_framework
from flask import Blueprint, Response

from rdev import wiring
from rdev.domain.keys import Key
from rdev.domain.records import timestamp
from rdev.http import envelope, parsing
from rdev.http.auth import require
from rdev.http.function import install, no_such_route
from rdev.http.models import CreateKey, Page

blueprint = Blueprint("keys", __name__, url_prefix="/keys")


@blueprint.get("")
def list_keys() -> Response:
    """List API keys, newest first."""
    require(wiring.keys(), "keys:admin")
    page = parsing.query(Page)
    found = wiring.keys().list(before=page.cursor, limit=page.limit + 1)
    shown = found[: page.limit]
    cursor = shown[-1].id if len(found) > page.limit else None
    return envelope.data([_shown(key) for key in shown], next_cursor=cursor)


@blueprint.post("")
def create_key() -> Response:
    """Create an API key. Its secret is in this answer, and never again in any."""
    by = require(wiring.keys(), "keys:admin")
    asked = parsing.body(CreateKey)
    key, secret = wiring.keys().create(
        by,
        name=asked.name,
        scopes=tuple(asked.scopes),
        description=asked.description,
        projects=tuple(asked.projects),
        rate_limit=asked.rate_limit,
        max_concurrent=asked.max_concurrent,
        expires_at=asked.expires_at,
    )
    response = envelope.data({**_shown(key), "key": secret}, 201)
    response.headers["Location"] = f"/keys/{key.id}"
    return response


@blueprint.get("/<key_id>")
def get_key(key_id: str) -> Response:
    """Get an API key's record."""
    require(wiring.keys(), "keys:admin")
    return envelope.data(_shown(wiring.keys().get(key_id)))


@blueprint.delete("/<key_id>")
def revoke_key(key_id: str) -> Response:
    """Revoke an API key: it is refused from the next request on. Idempotent."""
    require(wiring.keys(), "keys:admin")
    wiring.keys().revoke(key_id)
    return envelope.data(_shown(wiring.keys().get(key_id)))


def _shown(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "description": key.description,
        "hint": key.hint,
        "scopes": list(key.scopes),
        "projects": list(key.projects),
        "rate_limit": key.rate_limit,
        "max_concurrent": key.max_concurrent,
        "created_at": timestamp(key.created_at),
        "created_by": key.created_by,
        "expires_at": timestamp(key.expires_at),
        "revoked_at": timestamp(key.revoked_at),
    }


install(blueprint)


@functions_framework.http
def keys(request: flask.Request) -> Response:
    """Whatever no route above takes."""
    return no_such_route(request)
