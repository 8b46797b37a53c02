"""Ids that sort by time: a prefix that names the noun, and a UUIDv7 (RFC 9562, section 5.7)."""

import re
import secrets
import time

COMMAND_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
"""So much holds of any id that becomes the name of a folder."""

_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62


def new_id(noun: str) -> str:
    """`new_id("cmd")` -> `cmd-019abf…`; `noun` is one of cmd, key, wh, del, evt, req."""
    milliseconds = time.time_ns() // 1_000_000
    high = (milliseconds & (2**48 - 1)) << 80
    random = secrets.randbits(74)
    value = high | _VERSION_7 | (random >> 62 << 64) | _VARIANT | (random & (2**62 - 1))
    return f"{noun}-{value:032x}"
