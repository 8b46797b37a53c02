"""Keys: who may do what. Created, listed, revoked, and asked at every request."""

from collections.abc import Callable, Sequence
from datetime import datetime

from rdev.domain.callers import Caller
from rdev.domain.ids import new_id
from rdev.domain.keys import Key, hash_secret, hint_of, new_secret, well_formed
from rdev.errors import Forbidden, NotFound, Unauthorized
from rdev.ports import Transactions

FIRST_KEY = "first admin key"


class Keys:
    def __init__(
        self, transaction: Transactions, *, pepper: str, now: Callable[[], datetime]
    ) -> None:
        self._transaction = transaction
        self._pepper = pepper
        self._now = now

    def authenticate(self, secret: str) -> Key:
        """The key behind a secret. Raises Unauthorized, with the same words for every cause."""
        if not well_formed(secret):
            raise Unauthorized
        with self._transaction() as tx:
            key = tx.keys.by_hash(hash_secret(secret, self._pepper))
        if key is None or not key.usable(self._now()):
            raise Unauthorized
        return key

    def still_usable(self, key_id: str) -> Key:
        """The key of that id, for what it has been given before. Raises Unauthorized."""
        with self._transaction() as tx:
            key = tx.keys.get(key_id)
        if key is None or not key.usable(self._now()):
            raise Unauthorized
        return key

    def create(
        self,
        by: Caller,
        *,
        name: str,
        scopes: tuple[str, ...],
        description: str = "",
        projects: tuple[str, ...] = ("*",),
        rate_limit: int | None = None,
        max_concurrent: int | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[Key, str]:
        """A new key and its secret, which is never shown again. Raises Forbidden where it would
        hold more than its maker."""
        if not by.key.may_grant(scopes, projects):
            raise Forbidden("A key cannot grant scopes or projects that it does not hold itself.")
        secret = new_secret()
        key = Key(
            id=new_id("key"),
            name=name,
            hint=hint_of(secret),
            scopes=scopes,
            created_at=self._now(),
            description=description,
            projects=projects,
            rate_limit=rate_limit,
            max_concurrent=max_concurrent,
            expires_at=expires_at,
            created_by=by.key.id,
        )
        with self._transaction() as tx:
            tx.keys.insert(key, hash_secret(secret, self._pepper))
        return key, secret

    def create_first(self) -> str | None:
        """The secret of an admin key, made only if there is no key at all. However many ask at
        the same time, one of them gets it."""
        secret = new_secret()
        key = Key(
            id=new_id("key"),
            name=FIRST_KEY,
            hint=hint_of(secret),
            scopes=("admin",),
            created_at=self._now(),
        )
        with self._transaction() as tx:
            if not tx.keys.lock_first_key():
                return None
            tx.keys.insert(key, hash_secret(secret, self._pepper))
        return secret

    def get(self, key_id: str) -> Key:
        with self._transaction() as tx:
            key = tx.keys.get(key_id)
        if key is None:
            raise NotFound(f"Key not found: {key_id}")
        return key

    def list(self, *, before: str | None, limit: int) -> Sequence[Key]:
        with self._transaction() as tx:
            return tx.keys.list(before=before, limit=limit)

    def revoke(self, key_id: str) -> None:
        """Refuse the key from now on. Revoking twice is no error."""
        with self._transaction() as tx:
            if not tx.keys.revoke(key_id, self._now()):
                raise NotFound(f"Key not found: {key_id}")
