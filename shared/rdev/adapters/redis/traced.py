"""A client whose calls have a span each, within a trace: the command's name, never arguments."""

from typing import Any

import redis
from redis.client import Pipeline

from rdev.ports import tracing


class TracedPipeline(Pipeline):
    def execute(self, raise_on_error: bool = True) -> list[Any]:
        attributes: dict[str, tracing.Value] = {"db.system.name": "redis"}
        attributes["db.operation.batch.size"] = len(self.command_stack)
        with tracing.inner("PIPELINE", attributes):
            return super().execute(raise_on_error)


class TracedRedis(redis.Redis):
    def execute_command(self, *args: Any, **options: Any) -> Any:
        name = str(args[0])
        attributes = {"db.system.name": "redis", "db.operation.name": name}
        with tracing.inner(name, attributes):
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call] # theirs

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        return TracedPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )
