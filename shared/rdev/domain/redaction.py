"""Redaction: secrets in text that is about to be kept. Pure, and linear in the text's length.

A net for what slips through, by the shapes that secrets are known to have; it cannot know them all.
"""

import re

MASK = "[redacted]"

_SHAPES = (
    r"rdev_[0-9A-Za-z]{16,}",
    r"whsec_[0-9A-Za-z+/=]{16,}",
    r"\bAKIA[0-9A-Z]{16}\b",
    r"\bgh[pousr]_[0-9A-Za-z]{20,}",
    r"\bgithub_pat_[0-9A-Za-z_]{20,}",
    r"\bglpat-[0-9A-Za-z_-]{16,}",
    r"\bsk-[0-9A-Za-z_-]{16,}",
    r"\bxox[abeoprs]-[0-9A-Za-z-]{10,}",
    r"\beyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*",
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^-]{0,20000}(?:-----END [A-Z ]{0,40}-----)?",
)
_WHOLE = re.compile("|".join(_SHAPES))
# What stands before stays, so that a reader sees what was masked.
_NAMED = re.compile(
    r"(?i)(\b(?:proxy-)?authorization['\"]?\s{0,3}[:=]\s{0,3}['\"]?(?:(?:bearer|basic|token)\s{1,3})?"
    r"|\bbearer\s{1,3}"
    r"|\bx-api-key['\"]?\s{0,3}[:=]\s{0,3}['\"]?"
    r"|(?:password|passwd|secret|token|api_?key|pepper)['\"]?\s{0,3}[:=]\s{0,3}['\"]?)"
    r"([^\s'\"&,;]{3,})"
)
_IN_URL = re.compile(r"(://[^/\s:@]{0,200}:)([^/\s@]{1,200})(@)")


def redact(text: str) -> str:
    """The same text with what looks like a secret masked."""
    text = _WHOLE.sub(MASK, text)
    text = _IN_URL.sub(rf"\g<1>{MASK}\g<3>", text)
    return _NAMED.sub(rf"\g<1>{MASK}", text)
