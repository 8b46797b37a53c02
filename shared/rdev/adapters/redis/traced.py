"""A client whose calls have a span each, within a trace: the command's name, never arguments."""

from typing import Any

import redis
from redis.client import Pipeline

from rdev.ports import tracing


def where(pool: Any) -> dict[str, tracing.Value]:
    """Which server and database a pool's connections lead to, as attributes."""
    leads = pool.connection_kwargs
    return {
        "db.system.name": "redis",
        "db.namespace": str(leads.get("db") or 0),
        "server.address": str(leads.get("host") or leads.get("path") or ""),
    }


class TracedPipeline(Pipeline):
    def execute(self, raise_on_error: bool = True) -> list[Any]:
        if not tracing.on():
            return super().execute(raise_on_error)
        size = len(self.command_stack)
        attributes = {**where(self.connection_pool), "db.operation.batch.size": size}
        with tracing.inner("PIPELINE", {**attributes, "db.operation.name": "PIPELINE"}):
            return super().execute(raise_on_error)


class TracedRedis(redis.Redis):
    def execute_command(self, *args: Any, **options: Any) -> Any:
        if not tracing.on():
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call] # theirs
        name = str(args[0])
        with tracing.inner(name, {**where(self.connection_pool), "db.operation.name": name}):
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call] # theirs

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        return TracedPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )
