"""A Postgres of a bench's own: migrated, empty, and as durable as one that is meant."""

from collections.abc import Iterator
from contextlib import contextmanager

from own_postgres import own_postgres
from rdev.config import SOURCE_ROOT
from rdev.platform.stores import migrate


@contextmanager
def postgres() -> Iterator[str]:
    """Its URL."""
    with own_postgres() as server:
        migrate(server.url(), SOURCE_ROOT / "migrations")
        yield server.url()
