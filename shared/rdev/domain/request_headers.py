"""Which headers of their own endpoints may ask for. Pure."""

import re

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # a token of RFC 9110
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,4096}")
OF_THE_CONNECTION = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Those that say how a request is carried."""


def refusal(name: str, value: str) -> str | None:
    """Why no webhook is sent with this header: it would break out of its line, or decide how the
    request is framed. None where nothing speaks against it. Never quotes the value, which may be
    a secret."""
    if not _NAME.fullmatch(name):
        return "A header's name must be made of letters, digits and hyphens."
    if name.lower() in OF_THE_CONNECTION:
        return f"The header {name} is rdev's own to set."
    if not _VALUE.fullmatch(value):
        return f"The header {name} must be one line of at most 4096 Latin-1 characters."
    return None
