"""Who is asking: the key of this request, and whether it may."""

from flask import g, request

from rdev.domain.callers import Caller
from rdev.domain.keys import Key
from rdev.errors import Forbidden, Unauthorized
from rdev.http.envelope import request_id
from rdev.services.keys import Keys


def require(keys: Keys, scope: str | None = None) -> Caller:
    """The caller. Raises Unauthorized, or Forbidden where its key lacks the scope."""
    key = keys.authenticate(_secret())
    g.key_id = key.id
    if scope is not None and not key.allows(scope):
        raise Forbidden(f"This needs a key with the scope {scope}.")
    return caller(key)


def caller(key: Key) -> Caller:
    """This request, made with that key."""
    return Caller(key, request.remote_addr, request_id())


def _secret() -> str:
    """From `X-API-Key`, or `Authorization: Bearer`."""
    if "X-API-Key" in request.headers:
        return request.headers["X-API-Key"].strip()
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized
    return secret.strip()
