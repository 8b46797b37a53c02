"""A database of one's own on the session's server: migrated, empty, gone afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
from psycopg import sql

from rdev.platform.stores import Postgres

TEMPLATE = "rdev_template"


@contextmanager
def fresh_database(server: Postgres) -> Iterator[str]:
    """Its URL; made from the template, which the session's fixture has migrated."""
    name = sql.Identifier(database := f"test_{uuid4().hex}")
    with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, sql.Identifier(TEMPLATE))
        )
        try:
            yield server.url(database)
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
