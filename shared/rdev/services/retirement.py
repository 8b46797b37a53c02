"""The removal of archives that were kept for long enough. The records stay."""

import logging
from collections.abc import Callable

from rdev.errors import RdevError
from rdev.ports import SegmentArchive, Transactions

log = logging.getLogger(__name__)

_BATCH = 16
_MOST_FAILURES = 3
_DAY_S = 86400.0


class Retirement:
    def __init__(
        self,
        transaction: Transactions,
        archive: SegmentArchive,
        retention_days: float,
        *,
        stopping: Callable[[], bool],
    ) -> None:
        """`retention_days` 0: for ever."""
        self._transaction = transaction
        self._archive = archive
        self._retention_s = retention_days * _DAY_S
        self._stopping = stopping

    def run(self) -> None:
        """One that cannot be removed is passed over until the next run; where several cannot, the
        archive itself is the trouble, and this ends. Raises what the last of them raised."""
        passed_over: list[str] = []
        while self._retention_s and not self._stopping():
            with self._transaction() as tx:
                outlived = tx.archive.outlived(
                    older_than_s=self._retention_s, limit=_BATCH, but=passed_over
                )
            if not outlived:
                return
            removed: list[str] = []
            try:
                for place in outlived:
                    if self._remove(place, passed_over):
                        removed.append(place[1])
            finally:
                with self._transaction() as tx:
                    tx.archive.mark_removed(removed)

    def _remove(self, place: tuple[str, str], passed_over: list[str]) -> bool:
        try:
            self._archive.remove(*place)
        except RdevError as exc:
            log.warning("the archive of %s stays for now: %s", place[1], exc)
            passed_over.append(place[1])
            if len(passed_over) >= _MOST_FAILURES:
                raise
            return False
        return True
