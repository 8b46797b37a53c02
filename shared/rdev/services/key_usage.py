"""When and from where keys were used last: collected in the process, written every few seconds.

A process that is killed forgets at most those seconds; nothing but a display depends on them.
"""

import logging
from collections.abc import Callable
from datetime import datetime

from rdev.domain.addresses import Address
from rdev.errors import RdevError
from rdev.ports import Transactions

log = logging.getLogger(__name__)

_EVERY_S = 5.0

Later = Callable[[float, Callable[[], None]], None]


class KeyUsage:
    def __init__(self, transaction: Transactions, later: Later) -> None:
        """`later` has something done after so many seconds, beside everything else."""
        self._transaction = transaction
        self._later = later
        self._used: dict[str, tuple[datetime, Address | None]] = {}
        self._awaited = False

    def note(self, key_id: str, at: datetime, address: Address | None) -> None:
        self._used[key_id] = (at, address)
        if not self._awaited:
            self._awaited = True
            self._later(_EVERY_S, self.write)

    def write(self) -> None:
        """Write what is known now. What cannot be written waits for the next time."""
        self._awaited = False
        used, self._used = self._used, {}
        if not used:
            return
        try:
            with self._transaction() as tx:
                tx.keys.note_use(used)
        except RdevError as exc:
            log.warning("when keys were used last is noted later: %s", exc)
            self._used = {**used, **self._used}
