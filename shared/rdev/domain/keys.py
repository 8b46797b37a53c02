"""API keys: what a key allows, and what it may hand on. Its secret is `secrets`' business. Pure."""

import fnmatch
from dataclasses import dataclass
from datetime import datetime

from rdev.domain.addresses import Address, Network, subset, within

SCOPES = (
    "projects:read",
    "projects:write",
    "projects:execute",
    "keys:admin",
    "webhooks:admin",
    "audit:read",
    "admin",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for a key that has no limits of its own."""

    rate_limit: int = 10
    """Requests in any second."""
    max_concurrent: int = 5
    """Commands that run at once."""


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
    allowed_ips: tuple[Network, ...] = ()
    """Where it may be used from; empty: everywhere."""
    rate_limit: int | None = None
    max_concurrent: int | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    created_by: str | None = None
    version: int = 1
    """Another one after each change of what a key may do."""
    rotated_at: datetime | None = None
    previous_expires_at: datetime | None = None
    """Until when the secret before the last rotation is good."""
    last_used_at: datetime | None = None
    last_used_ip: Address | None = None

    def usable(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def allows(self, scope: str) -> bool:
        return "admin" in self.scopes or scope in self.scopes

    def usable_from(self, address: Address | None) -> bool:
        """An unknown address is one from which no key with `allowed_ips` may be used."""
        if not self.allowed_ips:
            return True
        return address is not None and within(address, self.allowed_ips)

    def sees(self, project_id: str) -> bool:
        return any(fnmatch.fnmatchcase(project_id, glob) for glob in self.projects)

    def sees_every_project(self) -> bool:
        return "*" in self.projects

    def oversees(self, projects: tuple[str, ...]) -> bool:
        """Whether what is bound to these names and globs is surely within what this key sees."""
        return self.sees_every_project() or set(projects) <= set(self.projects)

    def surplus(self, other: "Key", defaults: Limits) -> str | None:
        """The first field in which another key holds more than this one, or None: never may a key
        hand out, or take over, more than it holds itself. `admin` holds every limit."""
        held = {
            "scopes": all(self.allows(scope) for scope in other.scopes),
            "projects": self.oversees(other.projects),
            "allowed_ips": subset(other.allowed_ips, self.allowed_ips),
            "expires_at": self.expires_at is None
            or (other.expires_at is not None and other.expires_at <= self.expires_at),
        }
        if not self.allows("admin"):
            held["rate_limit"] = _at_most(other.rate_limit, self.rate_limit, defaults.rate_limit)
            held["max_concurrent"] = _at_most(
                other.max_concurrent, self.max_concurrent, defaults.max_concurrent
            )
        return next((field for field, ok in held.items() if not ok), None)


def _at_most(one: int | None, other: int | None, default: int) -> bool:
    return (one or default) <= (other or default)
