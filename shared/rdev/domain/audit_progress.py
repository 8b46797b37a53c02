"""How far a check of the audit log has come, so that another request can go on from there. Pure.

Its text is nobody's secret and carries no seal: who makes one up deceives nobody but himself.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

_ZERO = bytes(32)
_MOST = 2**63 - 1  # a bigint
_DAYS = 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAX_MICROSECONDS = 2**57  # about the year 6500


@dataclass(slots=True)
class Progress:
    position: int = 0
    """In the chain, of the last row that was checked."""
    hash: bytes = _ZERO
    checked: int = 0
    newest: datetime | None = None
    last_seqs: dict[int, int] = field(default_factory=dict)
    """By day, of the newest two."""
    settled: int | None = None
    """The highest row number of the days before them."""
    chain_done: bool = False
    walked: int | None = None
    """The last row of the log that was looked up in the chain, after that was done."""

    def text(self) -> str:
        newest = None if self.newest is None else (self.newest - _EPOCH) // _MICROSECOND
        days = sorted(self.last_seqs.items())
        state = [self.position, self.hash.hex(), self.checked, newest, days]
        state += [self.settled, self.chain_done, self.walked]
        return urlsafe_b64encode(json.dumps(state, separators=(",", ":")).encode()).decode()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for what `text` did not make."""
        try:
            position, hash_, checked, newest, days, settled, done, walked = json.loads(
                urlsafe_b64decode(text.encode("ascii"))
            )
            found = cls(
                _number(position),
                bytes.fromhex(hash_),
                _number(checked),
                None
                if newest is None
                else _EPOCH + _number(newest, _MAX_MICROSECONDS) * _MICROSECOND,
                {_number(day): _number(seq, least=-_MOST) for day, seq in days},
                None if settled is None else _number(settled, least=-_MOST),
                done is True,
                None if walked is None else _number(walked, least=-_MOST),
            )
        except (ValueError, TypeError, RecursionError) as exc:
            raise ValueError("is no cursor of such a check") from exc
        if len(found.hash) != len(_ZERO) or len(found.last_seqs) > _DAYS:
            raise ValueError("is no cursor of such a check")
        return found


def _number(value: Any, most: int = _MOST, *, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError
    return value
