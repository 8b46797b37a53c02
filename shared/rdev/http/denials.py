"""What is denied goes into the audit log: the request as `services.denials` wants to know it."""

from flask import g, request

from rdev import wiring
from rdev.errors import Hidden, RdevError, Refused, TooManyRequests
from rdev.http.auth import address
from rdev.http.envelope import request_id
from rdev.services.denials import Denial

_DENIED = (Refused, Hidden, TooManyRequests)


def note(exc: RdevError, route: str) -> None:
    """Have it written down if it is a denial. Raises nothing."""
    if not isinstance(exc, _DENIED):
        return
    refused = exc.key_id if isinstance(exc, Refused) else None
    wiring.denials().note(
        Denial(
            code=exc.code,
            address=address(),
            key_id=g.get("key_id", refused),
            key_name=g.get("key_name"),
            request_id=request_id(),
            method=request.method,
            route=route,
        )
    )
