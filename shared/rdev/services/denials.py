"""Denials: who was turned away, in the audit log. For each address, key and code one row a minute,
with a count, so that a flood fills no disk: the first is written before it is answered, the rest is
counted in this process and written when the minute is over.

A process that is killed forgets what it counted since. With the store down denials go on as ever,
and are written when it is back.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rdev.domain.addresses import Address, neighbourhood
from rdev.domain.audit import AuditEntry
from rdev.errors import RdevError
from rdev.ports import Transactions
from rdev.services.key_usage import Later

log = logging.getLogger(__name__)

_MINUTE_S = 60.0
_QUIET_S = 5.0
_AT_ONCE = 2
"""So many write at a time: most of the store's connections stay free for those who are let in."""
_TOLD_APART = 100
"""A minute. A flood from everywhere adds some 100 MB a day to the log, and no more."""


@dataclass(frozen=True, slots=True)
class Denial:
    """One request that was turned away. `route` is the rule, not the path: paths carry ids."""

    code: str
    address: Address | None
    key_id: str | None
    key_name: str | None
    request_id: str | None
    method: str
    route: str


@dataclass(frozen=True, slots=True)
class _Who:
    """What counts as the same. `place` is None for all those that are too many to tell apart."""

    place: str | None
    key_id: str | None
    code: str


@dataclass(slots=True)
class _Tally:
    who: _Who
    last: Denial
    address: str | None
    count: int = 0
    fresh: bool = True
    """Whether its last row may be less than a minute old."""

    def add(self, denial: Denial) -> None:
        if self.address is not None and self.address != str(denial.address):
            self.address = self.who.place  # an IPv6 /64
        self.last = denial
        self.count += 1

    def take(self) -> int:
        """What there is to write, which is written from now on."""
        count, self.count, self.fresh = self.count, 0, True
        return count

    def entry(self, count: int) -> AuditEntry:
        last = self.last
        details: dict[str, Any] = {"count": count, "method": last.method, "route": last.route}
        if self.who.place is None:
            details["overflow"] = True
        return AuditEntry(
            "denied",
            key_id=self.who.key_id,
            key_name=last.key_name if self.who.key_id else None,
            address=self.address,
            request_id=last.request_id,
            outcome=last.code,
            details=details,
        )


class Denials:
    def __init__(
        self,
        transaction: Transactions,
        later: Later,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`later` has something done after so many seconds, beside everything else."""
        self._transaction = transaction
        self._later = later
        self._clock = clock
        self._lock = threading.Lock()
        self._tallies: dict[_Who, _Tally] = {}
        self._awaited = False
        self._writing = 0
        self._quiet_until = 0.0

    def note(self, denial: Denial) -> None:
        """Have it in the log, now or within a minute. Raises nothing, and takes no longer than the
        store's time limit."""
        with self._lock:
            tally, first = self._tally_of(denial)
            tally.add(denial)
            awaited, self._awaited = self._awaited, True
            at_once = first and self._writing < _AT_ONCE and self._clock() >= self._quiet_until
            self._writing += at_once
        if not awaited:
            self._later(_MINUTE_S, self.write)
        if not at_once:
            return
        try:
            self._write([tally])
        finally:
            with self._lock:
                self._writing -= 1

    def write(self) -> None:
        """Write what was counted. What cannot be written waits for the next time."""
        with self._lock:
            due = [tally for tally in self._tallies.values() if tally.count]
            # One without a count is known for a minute more: else its next one would be a first.
            known = {who: tally for who, tally in self._tallies.items() if tally.fresh}
            for tally in known.values():
                tally.fresh = False
            self._tallies = known | {tally.who: tally for tally in due}
            self._awaited = again = bool(self._tallies)
        if due:
            self._write(due)
        if again:
            self._later(_MINUTE_S, self.write)

    def _tally_of(self, denial: Denial) -> tuple[_Tally, bool]:
        """Where it is counted, and whether that is new."""
        who = _Who(neighbourhood(denial.address), denial.key_id, denial.code)
        if who not in self._tallies and len(self._tallies) >= _TOLD_APART:
            who = _Who(None, None, denial.code)
        tally = self._tallies.get(who)
        if tally is not None:
            return tally, False
        address = str(denial.address) if denial.address and who.place is not None else None
        self._tallies[who] = tally = _Tally(who, denial, address)
        return tally, True

    def _write(self, tallies: Sequence[_Tally]) -> None:
        with self._lock:
            taken = [
                (tally, count, tally.entry(count)) for tally in tallies if (count := tally.take())
            ]
        try:
            with self._transaction() as tx:
                tx.audit.append_all([entry for _, _, entry in taken])
        except Exception as exc:  # whatever it is: a denial stays the denial that it was
            log.warning(
                "denials are written later: %s", exc, exc_info=not isinstance(exc, RdevError)
            )
            with self._lock:
                self._quiet_until = self._clock() + _QUIET_S
                for tally, count, _ in taken:
                    tally.count += count
