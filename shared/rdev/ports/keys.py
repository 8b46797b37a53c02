"""The records of keys, and the gate that each of their requests passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rdev.domain.addresses import Address
    from rdev.domain.key_secrets import SecretHash
    from rdev.domain.keys import Key
    from rdev.domain.rate_limits import Window


@dataclass(frozen=True, slots=True)
class Found:
    """The key behind a secret."""

    key: Key
    stored: SecretHash
    """What is stored of that secret."""
    good_until: datetime | None
    """When the secret ends, where another one took its place; the key lives on."""


class KeyTable(Protocol):
    def insert(self, key: Key, secret: SecretHash) -> None: ...
    def by_hash(self, candidates: Sequence[SecretHash]) -> Found | None:
        """Also by the secret from before the last rotation, however long ago that was."""

    def get(self, key_id: str) -> Key | None: ...
    def lock(self, key_id: str) -> Key | None: ...
    def list(self, *, before: str | None, limit: int) -> Sequence[Key]: ...
    def revoke(self, key_id: str, now: datetime) -> bool:
        """False where it was revoked already: then nothing is changed."""

    def rotate(
        self, key_id: str, secret: SecretHash, hint: str, *, now: datetime, overlap_until: datetime
    ) -> None: ...
    def rehash(self, key_id: str, old: SecretHash, new: SecretHash) -> None:
        """Store the same secret under the current pepper."""

    def note_use(self, used: Mapping[str, tuple[datetime, Address | None]]) -> None:
        """When and from where keys were used last; never an earlier time than is known."""

    def lock_first_key(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """What the gate said to one request of a key."""

    window: Window
    version: int | None
    """The key's version as every replica has agreed on it; None: ask the database."""
    fill: str | None
    """Where the gate knew no version, and nobody else is about to fill it in: the word with which
    it may be filled in."""


class KeyGate(Protocol):
    """What all replicas agree on about a key, asked once a request. Every method raises
    StoreUnavailable."""

    @property
    def generation(self) -> int:
        """Another one whenever the gate may have forgotten what it was told."""

    def enter(self, key_id: str, limit: int) -> Entry:
        """Count the request, and tell the key's version: one round trip."""

    def fill(self, key_id: str, word: str, version: int) -> None:
        """Say which version holds, read from the database after `word` was given out. Does nothing
        where anybody said anything since."""

    def publish(self, key_id: str, version: int) -> None:
        """From now on no earlier version holds."""

    def suspend(self, key_id: str) -> None:
        """For half a minute have everybody ask the database, until `publish`."""
