"""SQL of keys."""

import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow

from rdev.domain.addresses import Address
from rdev.domain.key_secrets import SecretHash
from rdev.domain.keys import Key
from rdev.ports.keys import Found

# Shared by everything that must not run twice at the same time in one database.
_FIRST_KEY_LOCK = 7_233_001


class KeyRows:
    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._sql = connection

    def insert(self, key: Key, secret: SecretHash) -> None:
        self._sql.execute(
            """
            insert into keys (id, name, description, hint, secret_hash, pepper_version, scopes,
                projects, allowed_ips, rate_limit, max_concurrent, expires_at, created_at,
                created_by)
            values (%s, %s, %s, %s, %s, %s, %s, %s, %s::text[]::cidr[], %s, %s, %s, %s, %s)
            """,
            (
                key.id,
                key.name,
                key.description,
                key.hint,
                secret.value,
                secret.pepper_version,
                list(key.scopes),
                list(key.projects),
                [str(network) for network in key.allowed_ips],
                key.rate_limit,
                key.max_concurrent,
                key.expires_at,
                key.created_at,
                key.created_by,
            ),
        )

    def by_hash(self, candidates: Sequence[SecretHash]) -> Found | None:
        """Also by the secret from before the last rotation, however long ago that was."""
        row = self._sql.execute(
            """
            select * from keys
            where secret_hash = any(%(hashes)s) or previous_secret_hash = any(%(hashes)s)
            """,
            {"hashes": [candidate.value for candidate in candidates]},
        ).fetchone()
        if row is None:
            return None
        for stored in candidates:
            if hmac.compare_digest(stored.value, row["secret_hash"]):
                return Found(_key(row), stored, good_until=None)
        previous = SecretHash(row["previous_secret_hash"], row["previous_pepper_version"])
        return Found(_key(row), previous, good_until=row["previous_expires_at"])

    def get(self, key_id: str) -> Key | None:
        row = self._sql.execute("select * from keys where id = %s", (key_id,)).fetchone()
        return _key(row) if row else None

    def lock(self, key_id: str) -> Key | None:
        """As `get`; nobody else changes it before this transaction ends."""
        row = self._sql.execute("select * from keys where id = %s for update", (key_id,)).fetchone()
        return _key(row) if row else None

    def list(self, *, before: str | None, limit: int) -> list[Key]:
        """Newest first; `before` is the id to go on after."""
        rows = self._sql.execute(
            """
            select * from keys where %(before)s::text is null or id < %(before)s
            order by id desc limit %(limit)s
            """,
            {"before": before, "limit": limit},
        )
        return [_key(row) for row in rows]

    def revoke(self, key_id: str, now: datetime) -> bool:
        done = self._sql.execute(
            """
            update keys set revoked_at = %s, version = version + 1
            where id = %s and revoked_at is null
            """,
            (now, key_id),
        )
        return done.rowcount == 1

    def rotate(
        self, key_id: str, secret: SecretHash, hint: str, *, now: datetime, overlap_until: datetime
    ) -> None:
        """The secret of now becomes the previous one; the one before that ends."""
        self._sql.execute(
            """
            update keys set previous_secret_hash = secret_hash,
                previous_pepper_version = pepper_version, previous_expires_at = %s,
                secret_hash = %s, pepper_version = %s, hint = %s, rotated_at = %s,
                version = version + 1
            where id = %s
            """,
            (overlap_until, secret.value, secret.pepper_version, hint, now, key_id),
        )

    def rehash(self, key_id: str, old: SecretHash, new: SecretHash) -> None:
        """Store the same secret under the current pepper."""
        self._sql.execute(
            """
            update keys set secret_hash = %s, pepper_version = %s
            where id = %s and secret_hash = %s
            """,
            (new.value, new.pepper_version, key_id, old.value),
        )

    def note_use(self, used: Mapping[str, tuple[datetime, Address | None]]) -> None:
        """When and from where keys were used last; never an earlier time than is known."""
        rows = [(key_id, *when_and_where) for key_id, when_and_where in sorted(used.items())]
        self._sql.execute(
            """
            update keys set last_used_at = used.at, last_used_ip = used.address::inet
            from unnest(%s::text[], %s::timestamptz[], %s::text[]) as used (id, at, address)
            where keys.id = used.id and (last_used_at is null or last_used_at < used.at)
            """,
            (
                [row[0] for row in rows],
                [row[1] for row in rows],
                [str(row[2]) if row[2] else None for row in rows],
            ),
        )

    def lock_first_key(self) -> bool:
        """Hold off every other maker of a first key; true while there is no key at all."""
        self._sql.execute("select pg_advisory_xact_lock(%s)", (_FIRST_KEY_LOCK,))
        return self._sql.execute("select 1 from keys limit 1").fetchone() is None


def _key(row: dict[str, Any]) -> Key:
    return Key(
        id=row["id"],
        name=row["name"],
        hint=row["hint"],
        scopes=tuple(row["scopes"]),
        created_at=row["created_at"],
        description=row["description"],
        projects=tuple(row["projects"]),
        allowed_ips=tuple(row["allowed_ips"]),
        rate_limit=row["rate_limit"],
        max_concurrent=row["max_concurrent"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        created_by=row["created_by"],
        version=row["version"],
        rotated_at=row["rotated_at"],
        previous_expires_at=row["previous_expires_at"],
        last_used_at=row["last_used_at"],
        last_used_ip=row["last_used_ip"],
    )
