"""Callers: who asks, from where, in which request. What the services decide by, and what the audit
log writes down. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime

from rdev.domain.keys import Key
from rdev.errors import Hidden


@dataclass(frozen=True, slots=True)
class Caller:
    """`address` is an IP address, None where nobody called over the network."""

    key: Key
    address: str | None = None
    request_id: str | None = None

    def must_see(self, project_id: str, message: str | None = None) -> None:
        """Raises Hidden where the key does not see the project, in the words that are used where
        there is none; `message`: of what is looked for in it."""
        if not self.key.sees(project_id):
            raise Hidden(message or f"Project not found: {project_id}")


def rdev_itself(name: str) -> Caller:
    """rdev acting of its own accord, under a name that no key can have (it has no `key-`)."""
    return Caller(Key(name, name, "", ("admin",), datetime(2020, 1, 1, tzinfo=UTC)))
