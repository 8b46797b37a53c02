"""SQL of keys."""

from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow

from rdev.domain.keys import Key

# Shared by everything that must not run twice at the same time in one database.
_FIRST_KEY_LOCK = 7_233_001


class KeyRows:
    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._sql = connection

    def insert(self, key: Key, secret_hash: bytes) -> None:
        self._sql.execute(
            """
            insert into keys (id, name, description, hint, secret_hash, scopes, projects,
                rate_limit, max_concurrent, expires_at, created_at, created_by)
            values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            (
                key.id,
                key.name,
                key.description,
                key.hint,
                secret_hash,
                list(key.scopes),
                list(key.projects),
                key.rate_limit,
                key.max_concurrent,
                key.expires_at,
                key.created_at,
                key.created_by,
            ),
        )

    def by_hash(self, secret_hash: bytes) -> Key | None:
        row = self._sql.execute(
            "select * from keys where secret_hash = %s", (secret_hash,)
        ).fetchone()
        return _key(row) if row else None

    def get(self, key_id: str) -> Key | None:
        row = self._sql.execute("select * from keys where id = %s", (key_id,)).fetchone()
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
        """False where there is no such key; a second revocation keeps the first one's time."""
        done = self._sql.execute(
            "update keys set revoked_at = coalesce(revoked_at, %s) where id = %s",
            (now, key_id),
        )
        return done.rowcount == 1

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
        rate_limit=row["rate_limit"],
        max_concurrent=row["max_concurrent"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        created_by=row["created_by"],
    )
