"""Connections whose statements have a span each, within a trace. It names the method that holds the
statement and what that does, never the statement's values."""

import sys
from typing import Any

import psycopg
from psycopg.rows import DictRow

from rdev.adapters.postgres.answering import AnsweringConnection
from rdev.ports import tracing


class TracedConnection(AnsweringConnection):
    def execute(self, query: Any, *args: Any, **options: Any) -> psycopg.Cursor[DictRow]:
        name = sys._getframe(1).f_code.co_qualname  # such as CommandRows.insert
        with tracing.inner(name, {"db.system.name": "postgresql", "db.operation.name": name}):
            return super().execute(query, *args, **options)
