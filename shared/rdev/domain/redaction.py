"""Redaction: secrets in text that is about to be kept. Pure.

A net for what slips through, by the shapes that secrets are known to have and by the words that
stand before them; it cannot know them all. Every repetition has a bound or cannot be entered twice,
so that no text, of whatever length, makes it slow.
"""

import re
from collections.abc import Mapping
from typing import Any

MASK = "[redacted]"

_NAMES = (
    r"passw(?:or)?d|passphrase|secret|token|credential|pepper"
    r"|api[_-]?key|access[_-]?key|private[_-]?key|signing[_-]?key"
)
# To the closing quote, with whatever blanks are inside; else to the end of the word.
_VALUE = (
    r"(?!\[redacted\])"
    r"""(?:"[^"]{1,4096}"?|'[^']{1,4096}'?|\\"[^"\\]{1,4096}|[^\s"'\\;&|<>,)}\]]{1,4096})"""
)

_SHAPES = re.compile(
    r"""
      -----BEGIN[ ](?:[A-Z0-9]{1,16}[ ]){0,3}PRIVATE[ ]KEY(?:[ ]BLOCK)?-----
        [^-]{0,20000}(?:-----END[A-Z0-9 ]{1,60}-----)?
    | rdev_[0-9A-Za-z]{16,255}
    | whsec_[0-9A-Za-z+/=_-]{8,255}
    | (?:AKIA|ASIA)[0-9A-Z]{16}
    | gh[pousr]_[0-9A-Za-z]{20,255}
    | github_pat_[0-9A-Za-z_]{20,255}
    | glpat-[0-9A-Za-z_-]{16,255}
    | \bsk-[0-9A-Za-z_-]{16,255}
    | xox[a-z]-[0-9A-Za-z-]{10,255}
    | AIza[0-9A-Za-z_-]{30,100}
    | \b(?:npm|hf)_[0-9A-Za-z]{20,100}
    | pypi-[0-9A-Za-z_-]{16,255}
    # A JWT's first part; whatever follows it is no less a secret.
    | eyJ[0-9A-Za-z_-]{8,4096}(?:\.[0-9A-Za-z_-]{0,4096}){0,4}
    """,
    re.VERBOSE,
)
# Of these what stands before stays, so that a reader sees what was masked.
_NAMED = (
    re.compile(r"(://)[^\s/@\"'<>]{1,512}(?=@)"),
    re.compile(
        r"((?:authorization|x-api-key|cookie)\\?[\"']?[ \t]{0,3}[:=,][ \t]{0,3}+\\?[\"']?)"
        r"(?!\[redacted\])[^\"'\r\n\\]{1,4096}",
        re.IGNORECASE,
    ),
    re.compile(r"(\b(?:bearer|basic)\s{1,3})[0-9A-Za-z._~+/=-]{8,4096}", re.IGNORECASE),
    re.compile(
        rf"((?:{_NAMES})[0-9A-Za-z_-]{{0,32}}\\?[\"']?\s{{0,3}}[=:]\s{{0,3}}){_VALUE}",
        re.IGNORECASE,
    ),
    re.compile(
        rf"((?<!-)--(?!-)[0-9A-Za-z-]{{0,32}}(?:{_NAMES})[0-9A-Za-z-]{{0,32}}\s{{1,3}})(?!-){_VALUE}",
        re.IGNORECASE,
    ),
    re.compile(r"([?&](?:key|ticket|sig|signature)=)[^\s&#\"'<>]{1,4096}", re.IGNORECASE),
)


def redact(text: str) -> str:
    """The same text with what looks like a secret masked."""
    if not text.isalnum():  # as digests and most words are: all of these need a sign or a blank
        for pattern in _NAMED:
            text = pattern.sub(rf"\g<1>{MASK}", text)
    return _SHAPES.sub(MASK, text)


_DEPTH = 8
_TELLING = re.compile(rf"(?:{_NAMES}|authorization|cookie)s?\Z", re.IGNORECASE)


def redact_value(value: Any, *, name: str = "", depth: int = _DEPTH) -> Any:
    """The same value with what looks like a secret masked, however deep: text, bytes, members of
    mappings and sequences, and whatever else there is as its `repr`. What stands under a name such
    as `password` is masked whole."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if _TELLING.search(name):
        return MASK
    if isinstance(value, (bytes, bytearray)):
        value = value.decode("utf-8", "backslashreplace")
    if depth and isinstance(value, Mapping):
        return {
            redact(str(key)): redact_value(inner, name=str(key), depth=depth - 1)
            for key, inner in value.items()
        }
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return [redact_value(inner, depth=depth - 1) for inner in value]
    # By `repr`: exceptions, and what is nested too deep, or in itself.
    return redact(value if isinstance(value, str) else repr(value))
