"""What goes over the wire for one attempt, and what of an answer's headers is kept. Pure."""

from collections.abc import Mapping
from http.client import HTTPMessage

from rdev.adapters.webhooks.target import NotAllowed, Target
from rdev.domain.attempts import Outgoing
from rdev.domain.request_headers import refusal

_KEPT_HEADERS = 64
_KEPT_VALUE = 1024


def rendered(outgoing: Outgoing, target: Target, user_agent: str) -> bytes:
    """The request in one piece, so that it leaves in one segment. Raises NotAllowed for a header
    that would break out of its line or change the framing."""
    lines = [f"POST {target.path} HTTP/1.1", f"Host: {target.host_header}"]
    named = False
    for name, value in outgoing.headers.items():
        problem = refusal(name, value)
        if problem:
            raise NotAllowed(problem)
        named = named or name.lower() == "user-agent"
        lines.append(f"{name}: {value}")
    if not named:
        lines.append(f"User-Agent: {user_agent}")
    # Answers are stored as they come: nothing is unpacked, so nothing can blow up.
    lines += ("Accept-Encoding: identity", f"Content-Length: {len(outgoing.body)}", "", "")
    return "\r\n".join(lines).encode("latin-1") + outgoing.body


def kept_headers(message: HTTPMessage) -> Mapping[str, str]:
    """An answer's headers, bounded in number and size, printable, each name once."""
    kept: dict[str, str] = {}
    for header, value in message.items():
        name = _printable(header)[:_KEPT_VALUE].lower()
        if name in kept:
            kept[name] = f"{kept[name]}, {_printable(value)}"[:_KEPT_VALUE]
        elif len(kept) < _KEPT_HEADERS:
            kept[name] = _printable(value)[:_KEPT_VALUE]
    return kept


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
