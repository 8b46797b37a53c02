"""`Prefer: wait=N` (RFC 7240, section 4.3)."""

import re

_WAIT = re.compile(r"\s*wait\s*=\s*\"?(\d{1,4})\"?\s*", re.ASCII | re.IGNORECASE)
_MAX_WAIT_S = 50.0  # below the time limit of the functions that wait


def wait_s(header: str) -> float:
    """How long the caller would wait; 0: not at all. What cannot be read is ignored, as a
    preference may be; what is too long is cut."""
    for preference in re.split("[,;]", header):
        match = _WAIT.fullmatch(preference)
        if match:
            return min(float(match[1]), _MAX_WAIT_S)
    return 0.0
