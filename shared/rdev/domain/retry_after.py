"""What a Retry-After header asks for (RFC 9110, section 10.2.3). Pure."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_S = 24 * 3600.0
_MOST_DIGITS = 9


def seconds_asked_for(header: str | None, now: datetime) -> float | None:
    """Seconds from now, at most a day; None for what is neither a number nor an HTTP date."""
    text = (header or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), LONGEST_S) if len(text) <= _MOST_DIGITS else LONGEST_S
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:  # "-0000": a time in UTC of somebody who does not know where he is
        date = date.replace(tzinfo=UTC)
    return min(max((date - now).total_seconds(), 0.0), LONGEST_S)
