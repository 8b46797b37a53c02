"""Requests as Standard Webhooks 1.0 has them, and their secrets."""

import base64
import binascii
import secrets
from collections.abc import Mapping
from datetime import datetime

from standardwebhooks import Webhook

from rdev import __version__
from rdev.domain.attempts import Outgoing
from rdev.domain.webhooks import Claim
from rdev.errors import InvalidRequest

_PREFIX = "whsec_"
_FEWEST, _MOST, _MADE = 24, 64, 32
_MASK = "…"


def new_secret() -> str:
    """`whsec_` and the base64 of 32 random bytes."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_MADE)).decode()


def checked_secret(given: str) -> str:
    """A secret of the caller's own. Raises InvalidRequest unless it is of the Standard's shape."""
    try:
        size = len(base64.b64decode(given.removeprefix(_PREFIX), validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if not given.startswith(_PREFIX) or not _FEWEST <= size <= _MOST:
        raise InvalidRequest.field(
            "secret", f"must be `whsec_` and the base64 of {_FEWEST} to {_MOST} bytes"
        )
    return given


def request_of(claim: Claim, at: datetime, trace_context: str | None = None) -> Outgoing:
    """The attempt's request, signed with every secret that is good now, within this trace."""
    trace = {} if trace_context is None else {"traceparent": trace_context}
    return Outgoing(
        url=claim.endpoint.url,
        headers={
            **claim.endpoint.headers,
            **trace,
            "content-type": "application/json",
            "user-agent": f"rdev/{__version__}",
            "webhook-id": claim.event_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": signature(claim.secrets, claim.event_id, at, claim.body),
        },
        body=claim.body,
    )


def signature(keys: tuple[str, ...], event_id: str, at: datetime, body: bytes) -> str:
    """The header's value: one signature a secret, the current one's first."""
    text = body.decode()
    return " ".join(Webhook(key).sign(event_id, at, text) for key in keys)


def shown_headers(outgoing: Outgoing, own: Mapping[str, str]) -> dict[str, str]:
    """The request's headers as the record keeps them: nothing that would let a reader send one."""
    hidden = {"webhook-signature", *own}
    return {name: _MASK if name in hidden else text for name, text in outgoing.headers.items()}
