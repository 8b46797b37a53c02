"""Who is asking: the key of this request, where it comes from, and whether it may."""

from collections.abc import Callable
from functools import lru_cache

from flask import g, request

from rdev import wiring
from rdev.config import settings
from rdev.domain.addresses import Address, Network, client_address, parse_networks
from rdev.domain.callers import Caller
from rdev.errors import Forbidden, TooManyRequests, Unauthorized
from rdev.http.envelope import request_id
from rdev.ports import metrics
from rdev.services.authentication import Admitted

_REMEMBERED = 200
"""Characters of X-Forwarded-For: what is longer is nobody's everyday way here."""


def require(scope: str | None = None) -> Caller:
    """The caller. Raises Unauthorized, TooManyRequests where its key has used up its limit, and
    Forbidden where it lacks the scope or may not be used from here."""
    secret = _secret()
    return _let_in(lambda: wiring.authentication().admit(secret, address()), scope)


def require_ticket(ticket: str, project_id: str, scope: str) -> Caller:
    """As `require`, for a ticket in place of its key."""
    key_id = wiring.event_tickets().redeem(ticket, project_id)
    return _let_in(lambda: wiring.authentication().admit_for(key_id, address()), scope)


def address() -> Address | None:
    """Where this request comes from; None where that cannot be told."""
    if "address" not in g:
        environ = request.environ
        # WSGI joins the lines of a header that comes more than once.
        forwarded = environ.get("HTTP_X_FORWARDED_FOR", "")
        known = len(forwarded) <= _REMEMBERED
        find = _client_address if known else _client_address.__wrapped__
        g.address = find(environ.get("REMOTE_ADDR"), forwarded)
    found: Address | None = g.address
    return found


def _let_in(admit: Callable[[], Admitted], scope: str | None) -> Caller:
    admitted = admit()
    kept = g._get_current_object()
    kept.key_id, kept.key_name, kept.window = admitted.key.id, admitted.key.name, admitted.window
    metrics.LIMITER_DECISIONS.add("allowed" if admitted.window.allowed else "refused")
    if not admitted.window.allowed:
        raise TooManyRequests(retry_after_s=-(-admitted.window.retry_ms // 1000))
    if scope is not None and not admitted.key.allows(scope):
        raise Forbidden(f"This needs a key with the scope {scope}.")
    place = address()
    return Caller(admitted.key, None if place is None else _text(place), request_id())


@lru_cache(maxsize=1024)
def _text(place: Address) -> str:
    return str(place)


@lru_cache(maxsize=1024)
def _client_address(peer: str | None, forwarded: str) -> Address | None:
    return client_address(peer, forwarded, _trusted_proxies())


@lru_cache(maxsize=1)
def _trusted_proxies() -> tuple[Network, ...]:
    return parse_networks(settings().trusted_proxy_networks)


def _secret() -> str:
    """From `X-API-Key`, or `Authorization: Bearer`."""
    environ: dict[str, str] = request.environ
    given = environ.get("HTTP_X_API_KEY")
    if given is not None:
        return given.strip()
    scheme, _, secret = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized
    return secret.strip()
