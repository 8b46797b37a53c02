"""Postgres and Redis as a deployment needs them."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from rdev.adapters.postgres.queue import QueueRows
from rdev.adapters.postgres.standing import StandingRows
from rdev.doctor.findings import Check, Level, Trouble, skewed
from rdev.doctor.queue import judged_queue, judged_sweep

_CALL_S = 5
_OLDEST_POSTGRES = 15
_OLDEST_REDIS = (7, 2)
_FULL = 0.9
_BACKLOG_S = 300.0


class PostgresChecks:
    def __init__(
        self, url: str, migrations: Path, now: Callable[[], float], *, max_concurrent: int
    ) -> None:
        """`max_concurrent`: the limit of keys that have none of their own."""
        self._url, self._migrations, self._now = url, migrations, now
        self._max_concurrent = max_concurrent

    def checks(self) -> list[Check]:
        tables = ("postgres", "migrations")
        return [
            Check("postgres", self._server),
            Check("postgres clock", self._clock, ("postgres",)),
            Check("migrations", self._applied, ("postgres",)),
            Check("queue", self._queue, tables),
            Check("sweep", self._sweep, tables),
            Check("webhooks", self._webhooks, tables),
        ]

    @contextmanager
    def _sql(self) -> Iterator[psycopg.Connection[DictRow]]:
        options = f"-c statement_timeout={_CALL_S * 1000} -c default_transaction_read_only=on"
        with psycopg.connect(
            self._url, row_factory=dict_row, connect_timeout=_CALL_S, options=options
        ) as sql:
            yield sql

    def _server(self) -> str:
        try:
            with self._sql() as sql:
                version = sql.info.server_version
                row = sql.execute("select pg_is_in_recovery() as copy").fetchone()
        except psycopg.Error as exc:
            raise Trouble(
                f"it does not answer: {str(exc).strip().splitlines()[0]}",
                "Look at RDEV_DATABASE_URL and at the server; `rdev up` has it only while it runs.",
            ) from None
        if row and row["copy"]:
            raise Trouble("it is a standby: it cannot be written", "Name the primary.")
        found = f"version {version // 10_000}.{version % 10_000}"
        if version // 10_000 < _OLDEST_POSTGRES:
            raise Trouble(found, f"rdev needs Postgres {_OLDEST_POSTGRES} or later.")
        return found

    def _clock(self) -> str:
        with self._sql() as sql:
            before = self._now()
            row = sql.execute("select extract(epoch from clock_timestamp())::float as t").fetchone()
            middle = (before + self._now()) / 2
        assert row is not None
        return skewed("Postgres'", row["t"] - middle)

    def _applied(self) -> str:
        shipped = {path.name.partition("_")[0] for path in self._migrations.glob("*.sql")}
        if not shipped:
            raise Trouble("this installation has no migrations beside it", level=Level.SKIPPED)
        with self._sql() as sql:
            there = sql.execute("select to_regclass('schema_migrations') as t").fetchone()
            rows = sql.execute("select version from schema_migrations") if there["t"] else ()  # type: ignore[index] # it always answers a row
            applied = {str(row["version"]) for row in rows}
        if missing := sorted(shipped - applied):
            raise Trouble(
                f"{len(missing)} of {len(shipped)} are not applied, from {missing[0]} on",
                "Apply them, by the image `migrations` or by `dbmate up` (docs/operations/"
                "upgrades.md). `rdev up` does so when it starts.",
            )
        newer = applied - shipped
        more = f", and {len(newer)} of a newer version" if newer else ""
        return f"all {len(shipped)} applied{more}"

    def _queue(self) -> str:
        with self._sql() as sql:
            queue = QueueRows(sql)
            claimable = sum(queue.claimable(self._max_concurrent).values())
            return judged_queue(queue.depth(), claimable)

    def _sweep(self) -> str:
        with self._sql() as sql:
            return judged_sweep(QueueRows(sql).last_sweep(), QueueRows(sql).depth())

    def _webhooks(self) -> str:
        with self._sql() as sql:
            standing = StandingRows(sql)
            due, oldest_s = standing.backlog()["due"], standing.oldest_due_s()
            endpoints = standing.endpoints()
        found = f"{due} due, the oldest for {oldest_s:.0f} s; {endpoints['blocked']} "
        found += f"endpoints left alone (circuit breaker), {endpoints['disabled']} disabled"
        if oldest_s > _BACKLOG_S:
            raise Trouble(
                found,
                "Nobody sends: look at the runner (`rdev up`), or at the function webhooks and "
                "what wakes it (Trigger, PingSource `sweep-webhooks`).",
            )
        if endpoints["blocked"] or endpoints["disabled"]:
            raise Trouble(
                found, "`rdev webhooks list`, `rdev webhooks deliveries ID`.", level=Level.WARN
            )
        return found


class RedisChecks:
    def __init__(self, url: str, now: Callable[[], float]) -> None:
        self._url, self._now = url, now

    def checks(self) -> list[Check]:
        return [
            Check("redis", self._server),
            Check("redis clock", self._clock, ("redis",)),
            Check("redis memory", self._memory, ("redis",)),
            Check("redis persistence", self._persistence, ("redis",)),
        ]

    @contextmanager
    def _client(self) -> Iterator[Any]:
        from rdev.adapters.redis.connect import connect

        with connect(self._url, timeout_s=_CALL_S, max_connections=1) as client:
            yield client

    def _server(self) -> str:
        from redis.exceptions import RedisError

        try:
            with self._client() as client:
                info = client.info("server")
        except (RedisError, ValueError) as exc:
            raise Trouble(
                f"it does not answer: {exc}",
                "Look at RDEV_REDIS_URL and at the server; `rdev up` has it only while it runs.",
            ) from None
        name = "Valkey" if "valkey_version" in info else "Redis"
        version = str(info.get("valkey_version") or info.get("redis_version") or "0")
        if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < _OLDEST_REDIS:
            raise Trouble(f"{name} {version}", "rdev needs Redis or Valkey 7.2 or later.")
        return f"{name} {version}"

    def _clock(self) -> str:
        with self._client() as client:
            before = self._now()
            seconds, micros = client.time()
            middle = (before + self._now()) / 2
        return skewed("Redis'", seconds + micros / 1e6 - middle)

    def _memory(self) -> str:
        with self._client() as client:
            info = client.info("memory")
        policy, most = str(info.get("maxmemory_policy")), int(info.get("maxmemory") or 0)
        used = int(info["used_memory"])
        if policy != "noeviction":
            raise Trouble(
                f"its policy is {policy}: when it is full it drops streams and tickets unasked",
                "Set maxmemory-policy to noeviction, in its configuration and now: "
                "CONFIG SET maxmemory-policy noeviction.",
            )
        found = f"noeviction; {used / 1e6:.0f} MB used"
        if most and used > _FULL * most:
            raise Trouble(
                f"{found} of {most / 1e6:.0f}",
                "Give it more, or see why the archive does not take output over.",
            )
        return found

    def _persistence(self) -> str:
        with self._client() as client:
            info = client.info("persistence")
        if info.get("loading"):
            raise Trouble("it is loading its data", "Wait for it.")
        written = (info.get("aof_last_write_status"), info.get("rdb_last_bgsave_status"))
        if "err" in written:
            raise Trouble("it cannot write to its disk", "Look at its log and its disk.")
        if not info.get("aof_enabled"):
            raise Trouble(
                "no append-only file: a restart of it loses what is not archived yet",
                "Set appendonly yes. What is lost is filled again from the workspaces, or told as "
                "a gap.",
                level=Level.WARN,
            )
        return "append-only file, written well"
