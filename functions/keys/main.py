"""Keys: create, list, get, rotate, revoke API keys."""

from typing import Any

import flask
import functions_framework
from flask import Blueprint, Response

from rdev import wiring
from rdev.domain.instants import timestamp
from rdev.domain.keys import Key
from rdev.http import envelope, parsing
from rdev.http.auth import require
from rdev.http.function import install, no_such_route
from rdev.http.key_models import CreateKey, RotateKey
from rdev.http.models import Page

blueprint = Blueprint("keys", __name__, url_prefix="/keys")


@blueprint.get("")
def list_keys() -> Response:
    """List API keys, newest first."""
    by = require("keys:admin")
    page = parsing.query(Page)
    shown, cursor = wiring.keys().list(by, before=page.cursor, limit=page.limit)
    return envelope.data([_shown(key) for key in shown], next_cursor=cursor)


@blueprint.post("")
def create_key() -> Response:
    """Create an API key. Its secret is in this answer, and never again in any."""
    by = require("keys:admin")
    key, secret = wiring.keys().create(by, parsing.body(CreateKey).grant())
    response = envelope.data({**_shown(key), "key": secret}, 201)
    response.headers["Location"] = f"/keys/{key.id}"
    return response


@blueprint.get("/self")
def get_own_key() -> Response:
    """Get the record of the key that asks: what it may do, and where. Any key may."""
    return envelope.data(_shown(require().key))


@blueprint.get("/<key_id>")
def get_key(key_id: str) -> Response:
    """Get an API key's record."""
    by = require("keys:admin")
    return envelope.data(_shown(wiring.keys().get(by, key_id)))


@blueprint.delete("/<key_id>")
def revoke_key(key_id: str) -> Response:
    """Revoke an API key: it is refused from the next request on, everywhere. Idempotent."""
    by = require("keys:admin")
    return envelope.data(_shown(wiring.keys().revoke(by, key_id)))


@blueprint.post("/<key_id>/rotate")
def rotate_key(key_id: str) -> Response:
    """Give an API key a new secret; the one of now stays good for `overlap_s` seconds."""
    by = require("keys:admin")
    asked = parsing.body(RotateKey)
    key, secret = wiring.keys().rotate(by, key_id, overlap_s=asked.overlap_s)
    return envelope.data({**_shown(key), "key": secret})


def _shown(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "description": key.description,
        "hint": key.hint,
        "scopes": list(key.scopes),
        "projects": list(key.projects),
        "allowed_ips": [str(network) for network in key.allowed_ips],
        "rate_limit": key.rate_limit,
        "max_concurrent": key.max_concurrent,
        "created_at": timestamp(key.created_at),
        "created_by": key.created_by,
        "expires_at": timestamp(key.expires_at),
        "revoked_at": timestamp(key.revoked_at),
        "rotated_at": timestamp(key.rotated_at),
        "previous_secret_expires_at": timestamp(key.previous_expires_at),
        "last_used_at": timestamp(key.last_used_at),
        "last_used_ip": str(key.last_used_ip) if key.last_used_ip else None,
    }


install(blueprint)


@functions_framework.http
def keys(request: flask.Request) -> Response:
    """Whatever no route above takes."""
    return no_such_route(request)
