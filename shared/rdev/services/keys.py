"""Keys: created, listed, rotated, revoked. Asking them at every request is `authentication`'s."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rdev.domain.addresses import Network
from rdev.domain.callers import Caller, rdev_itself
from rdev.domain.ids import new_id
from rdev.domain.key_secrets import Peppers, hint_of, new_secret
from rdev.domain.keys import Key, Limits
from rdev.errors import Conflict, Forbidden, Hidden, NotFound, Unavailable
from rdev.ports import Transactions
from rdev.ports.keys import KeyGate
from rdev.services import facts
from rdev.services.paging import page_seen

log = logging.getLogger(__name__)

FIRST_KEY = "first admin key"
RECOVERED_KEY = "recovered admin key"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a new key is to hold."""

    name: str
    scopes: tuple[str, ...]
    description: str = ""
    projects: tuple[str, ...] = ("*",)
    allowed_ips: tuple[Network, ...] = ()
    rate_limit: int | None = None
    max_concurrent: int | None = None
    expires_at: datetime | None = None


class Keys:
    def __init__(
        self,
        transaction: Transactions,
        gate: KeyGate,
        *,
        peppers: Peppers,
        defaults: Limits,
        now: Callable[[], datetime],
    ) -> None:
        self._transaction = transaction
        self._gate = gate
        self._peppers = peppers
        self._defaults = defaults
        self._now = now

    def create(self, by: Caller, grant: Grant) -> tuple[Key, str]:
        """A new key and its secret, which is never shown again. Raises Forbidden where it would
        hold more than its maker."""
        secret = new_secret()
        key = self._new_key(grant, secret, created_by=by.key.id)
        self._refuse_surplus(by, key)
        with self._transaction() as tx:
            tx.keys.insert(key, self._peppers.hash(secret))
            facts.key_created(tx, by, key)
        return key, secret

    def create_first(self) -> str | None:
        """The secret of an admin key, made only if there is no key at all. However many ask at
        the same time, one of them gets it."""
        return self._create_admin(FIRST_KEY, only_first=True)

    def recover(self) -> str:
        """The secret of a new admin key, for who lost theirs: whoever may write to the database."""
        secret = self._create_admin(RECOVERED_KEY, only_first=False)
        assert secret is not None
        return secret

    def get(self, by: Caller, key_id: str) -> Key:
        """Raises NotFound, also for a key that is not within what the caller's key sees."""
        with self._transaction(reading=True) as tx:
            return self._overseen(by, tx.keys.get(key_id), key_id)

    def list(
        self, by: Caller, *, before: str | None, limit: int
    ) -> tuple[Sequence[Key], str | None]:
        """A page, newest first, and where the next one begins."""
        with self._transaction(reading=True) as tx:
            return page_seen(
                lambda start, count: tx.keys.list(before=start, limit=count),
                lambda key: by.key.oversees(key.projects),
                lambda key: key.id,
                start=before,
                limit=limit,
            )

    def revoke(self, by: Caller, key_id: str) -> Key:
        """Refuse the key from now on, on every replica, once this returns. Revoking twice is no
        error. Raises Unavailable where it is recorded but a replica might not know it yet."""
        with self._transaction() as tx:
            self._overseen(by, tx.keys.lock(key_id), key_id)
            revoked = tx.keys.revoke(key_id, self._now())
            key = self._overseen(by, tx.keys.get(key_id), key_id)
            if revoked:
                facts.key_revoked(tx, by, key)
        try:
            self._gate.publish(key_id, key.version)
        except Unavailable as exc:
            raise Unavailable(
                "The key is revoked in the database, but Redis does not answer, so that a replica "
                "may still take it for up to a minute. Revoke it again to be sure."
            ) from exc
        return key

    def rotate(self, by: Caller, key_id: str, *, overlap_s: int) -> tuple[Key, str]:
        """Give the key another secret; the one of now stays good for `overlap_s` seconds. Raises
        Forbidden for a key that holds more than the caller's, and Conflict for one that is
        revoked or over."""
        secret, now = new_secret(), self._now()
        with self._transaction() as tx:
            key = self._overseen(by, tx.keys.lock(key_id), key_id)
            self._refuse_surplus(by, key)
            if not key.usable(now):
                raise Conflict("This key is revoked or over. Create a new one.")
            # First, since a caller who gets an error has no new secret: nothing may have changed.
            self._gate.suspend(key_id)
            until = now + timedelta(seconds=overlap_s)
            hashed = self._peppers.hash(secret)
            tx.keys.rotate(key_id, hashed, hint_of(secret), now=now, overlap_until=until)
            rotated = self._overseen(by, tx.keys.get(key_id), key_id)
            facts.key_rotated(tx, by, rotated)
        try:
            self._gate.publish(key_id, rotated.version)
        except Unavailable as exc:
            log.warning("all ask the database about %s for a while: %s", key_id, exc)
        return rotated, secret

    def _create_admin(self, name: str, *, only_first: bool) -> str | None:
        secret = new_secret()
        key = self._new_key(Grant(name, ("admin",)), secret)
        with self._transaction() as tx:
            is_first = tx.keys.lock_first_key()
            if only_first and not is_first:
                return None
            tx.keys.insert(key, self._peppers.hash(secret))
            facts.key_created(tx, rdev_itself("bootstrap"), key)
        return secret

    def _new_key(self, grant: Grant, secret: str, *, created_by: str | None = None) -> Key:
        return Key(
            id=new_id("key"),
            name=grant.name,
            hint=hint_of(secret),
            scopes=grant.scopes,
            created_at=self._now(),
            description=grant.description,
            projects=grant.projects,
            allowed_ips=grant.allowed_ips,
            rate_limit=grant.rate_limit,
            max_concurrent=grant.max_concurrent,
            expires_at=grant.expires_at,
            created_by=created_by,
        )

    def _refuse_surplus(self, by: Caller, key: Key) -> None:
        field = by.key.surplus(key, self._defaults)
        if field is not None:
            raise Forbidden(f"{field}: a key cannot grant more than it holds itself.")

    def _overseen(self, by: Caller, key: Key | None, key_id: str) -> Key:
        message = f"Key not found: {key_id}"
        if key is None:
            raise NotFound(message)
        if not by.key.oversees(key.projects):
            raise Hidden(message)
        return key
