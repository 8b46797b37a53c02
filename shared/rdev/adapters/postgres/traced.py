"""Connections whose statements have a span each, within a trace. It names the method that holds the
statement and what that does, never the statement's values."""

import sys
from typing import Any

import psycopg
from psycopg.rows import DictRow

from rdev.adapters.postgres.answering import AnsweringConnection
from rdev.ports import tracing


class TracedConnection(AnsweringConnection):
    _where: dict[str, tracing.Value] | None = None

    def execute(self, query: Any, *args: Any, **options: Any) -> psycopg.Cursor[DictRow]:
        if not tracing.on():
            return super().execute(query, *args, **options)
        name = sys._getframe(1).f_code.co_qualname  # such as CommandRows.insert
        with tracing.inner(name, {**self.where(), "code.function.name": name}):
            return super().execute(query, *args, **options)

    def where(self) -> dict[str, tracing.Value]:
        """Which server and database it leads to, as attributes."""
        if self._where is None:
            self._where = {
                "db.system.name": "postgresql",
                "db.namespace": self.info.dbname,
                "server.address": self.info.host,
            }
        return self._where
