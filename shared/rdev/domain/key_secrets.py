"""An API key's secret: how it is made, recognised and hashed. Pure.

`rdev_`, 32 random base62 characters (190 bits) and 6 of CRC32: scanners find it, and a typing error
costs no look-up. Stored is its HMAC-SHA256 under a pepper, fast on purpose: that many random bits
need no slow hash. Peppers have versions, so that one can be replaced while keys live on.
"""

import hmac
import secrets
import string
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PREFIX = "rdev_"
_RANDOM_LENGTH = 32
_CHECKSUM_LENGTH = 6
_LENGTH = len(_PREFIX) + _RANDOM_LENGTH + _CHECKSUM_LENGTH
_MIN_PEPPER = 32
_MAX_VERSION = 32767


@dataclass(frozen=True, slots=True)
class SecretHash:
    """What is stored of a secret, and under which pepper."""

    value: bytes
    pepper_version: int


class Peppers:
    """The peppers by their versions: the first hashes what is new, all of them recognise."""

    def __init__(self, by_version: dict[int, str]) -> None:
        self._by_version = by_version
        self.current_version = next(iter(by_version))

    @classmethod
    def parse(cls, text: str) -> "Peppers":
        """One a line, the current one first: `VERSION:PEPPER`, or the pepper alone for version 1.
        Raises ValueError, in words that hold no pepper."""
        by_version: dict[int, str] = {}
        for line in filter(None, (line.strip() for line in text.splitlines())):
            number, colon, pepper = line.partition(":")
            if not (colon and number.isascii() and number.isdecimal()):
                number, pepper = "1", line
            version = int(number)
            if not 1 <= version <= _MAX_VERSION or version in by_version:
                raise ValueError(f"each pepper needs a version of its own, 1 to {_MAX_VERSION}")
            if len(pepper) < _MIN_PEPPER:
                raise ValueError(f"a pepper needs at least {_MIN_PEPPER} characters")
            by_version[version] = pepper
        if not by_version:
            raise ValueError("there is no pepper")
        return cls(by_version)

    def hash(self, secret: str) -> SecretHash:
        """What to store of a new secret."""
        version = self.current_version
        return SecretHash(_hash(secret, self._by_version[version]), version)

    def candidates(self, secret: str) -> Sequence[SecretHash]:
        """What may be stored of a secret, by the pepper that was current then; likeliest first."""
        return [SecretHash(_hash(secret, p), version) for version, p in self._by_version.items()]


def new_secret() -> str:
    """A fresh one. To be shown once and kept nowhere."""
    body = _PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    return body + _checksum(body)


def well_formed(secret: str) -> bool:
    """Whether the checksum holds."""
    if len(secret) != _LENGTH or not secret.startswith(_PREFIX) or not secret.isascii():
        return False
    body, checksum = secret[:-_CHECKSUM_LENGTH], secret[-_CHECKSUM_LENGTH:]
    return hmac.compare_digest(_checksum(body), checksum)


def hint_of(secret: str) -> str:
    return secret[: len(_PREFIX) + 4] + "…"


def _hash(secret: str, pepper: str) -> bytes:
    return hmac.digest(pepper.encode(), secret.encode(), "sha256")


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        number, index = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[index] + digits
    return digits
