"""API keys: their shape, what they allow, and how a secret is made and checked. Pure."""

import fnmatch
import hashlib
import hmac
import secrets
import string
import zlib
from dataclasses import dataclass
from datetime import datetime

SCOPES = (
    "projects:read",
    "projects:write",
    "projects:execute",
    "keys:admin",
    "webhooks:admin",
    "audit:read",
    "admin",
)

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PREFIX = "rdev_"
_RANDOM_LENGTH = 32
_CHECKSUM_LENGTH = 6
_LENGTH = len(_PREFIX) + _RANDOM_LENGTH + _CHECKSUM_LENGTH


@dataclass(frozen=True, slots=True)
class Key:
    """A key's record. The secret itself is not in it, and is nowhere."""

    id: str
    name: str
    hint: str
    scopes: tuple[str, ...]
    created_at: datetime
    description: str = ""
    projects: tuple[str, ...] = ("*",)
    rate_limit: int | None = None
    max_concurrent: int | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    created_by: str | None = None

    def usable(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def allows(self, scope: str) -> bool:
        return "admin" in self.scopes or scope in self.scopes

    def sees(self, project_id: str) -> bool:
        return any(fnmatch.fnmatchcase(project_id, glob) for glob in self.projects)

    def sees_every_project(self) -> bool:
        return "*" in self.projects

    def may_grant(self, scopes: tuple[str, ...], projects: tuple[str, ...]) -> bool:
        """Whether a key may make another with these: never more than it holds itself."""
        held = all(self.allows(scope) for scope in scopes)
        return held and (self.sees_every_project() or set(projects) <= set(self.projects))


def new_secret() -> str:
    """`rdev_`, 32 random base62 characters (190 bits), and 6 of checksum."""
    body = _PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    return body + _checksum(body)


def well_formed(secret: str) -> bool:
    """Whether the checksum holds: a typing error costs no look-up."""
    if len(secret) != _LENGTH or not secret.startswith(_PREFIX) or not secret.isascii():
        return False
    body, checksum = secret[:-_CHECKSUM_LENGTH], secret[-_CHECKSUM_LENGTH:]
    return hmac.compare_digest(_checksum(body), checksum)


def hash_secret(secret: str, pepper: str) -> bytes:
    """What is stored of a secret. Fast on purpose: 190 random bits need no slow hash."""
    return hmac.new(pepper.encode(), secret.encode(), hashlib.sha256).digest()


def hint_of(secret: str) -> str:
    return secret[: len(_PREFIX) + 4] + "…"


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        number, index = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[index] + digits
    return digits
