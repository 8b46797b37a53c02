"""How the whole deployment stands, as counted in the database."""

from collections.abc import Mapping
from typing import Protocol


class StandingTable(Protocol):
    def backlog(self) -> Mapping[str, int]:
        """Deliveries that are not over: `due`, `later` (also those of endpoints that are left
        alone for a while), `held` (their endpoint is paused or disabled)."""

    def oldest_due_s(self) -> float:
        """For how long the oldest of those that are due has been; 0: none is."""

    def endpoints(self) -> Mapping[str, int]:
        """By what they are: active, blocked, paused, disabled."""

    def projects(self) -> Mapping[str, int]:
        """By what their workspace is meant to be: running, stopped."""

    def unarchived(self) -> int:
        """Ended commands whose output is not in the archive."""
