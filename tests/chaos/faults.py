"""The faults: what a chaos run does to the parts, at random, until there have been enough."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import psycopg
import redis

from chaos.cluster import LEASE_S, RUNNERS, Cluster
from chaos.disk import Swap

DISK_FULL = "disk of the workspaces full"
ARCHIVE_GONE = "archive not there"
_TIMES = (
    *("queued_at", "not_before", "waiting_since", "looked_at"),
    *("lease_until", "started_at", "finished_at"),
)

_RUNNER_POINTS = (
    "claim.*=0.01,start.*=0.01,append.*=0.003,stop.*=0.05,finish.*=0.01,announce.*=0.01,"
    "clean.*=0.01,closing.*=0.01,archive.*=0.005,requeue.*=0.05,handover.*=0.2"
)
FAIL_POINTS = {"functions": "submit.*=0.01", **dict.fromkeys(RUNNERS, _RUNNER_POINTS)}


class Faults:
    """`wipes` holds when Valkey lost its data, by time.time()."""

    pause_s = (0.05, 0.6)
    """From one to the next."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)
        self._done: Counter[str] = Counter()
        self._stopped: list[threading.Thread] = []
        self.wipes: list[float] = []
        self._archive = Swap(cluster.folder / "archive")
        self._filling = threading.Lock()
        self._kinds: dict[str, tuple[float, Callable[[], None]]] = {
            "kill -9 of a runner": (5, lambda: self._kill(self._runner())),
            "SIGTERM to a runner (handover)": (2, self._terminate),
            "runner stopped beyond its lease": (2, self._stop_beyond_lease),
            "kill -9 of the functions": (3, lambda: self._kill("functions")),
            "kill -9 of Valkey, data kept": (2, lambda: self._kill("valkey")),
            "kill -9 of Valkey, data gone": (1, self._empty),
            "FLUSHALL": (1, self._flush),
            "Postgres restarted (immediate)": (1, self._restart_postgres),
            "pg_terminate_backend of all": (2, self._terminate_backends),
            "Postgres's clock set by an hour": (2, self._set_clock),
            "connections to Postgres cut": (2, lambda: self._cut("postgres")),
            "connections to Valkey cut": (2, lambda: self._cut("valkey")),
            "connections held up": (2, self._stall),
            ARCHIVE_GONE: (2, self._lose_archive),
            DISK_FULL: (3 if cluster.disk.can_be_full else 0, self._fill_disk),
        }

    @property
    def left_out(self) -> list[str]:
        """What could not be done on this machine."""
        return [kind for kind, (weight, _) in self._kinds.items() if not weight]

    @property
    def by_kind(self) -> Counter[str]:
        """Those injected from outside, and the fail points that were acted on."""
        points = Counter(f"fail point {name}" for name in self._cluster.failures())
        return self._done + points

    @property
    def count(self) -> int:
        return self.by_kind.total()

    def inject(self) -> None:
        names = list(self._kinds)
        kind = self._random.choices(names, [self._kinds[name][0] for name in names])[0]
        self._kinds[kind][1]()
        self._done[kind] += 1

    def settle(self) -> None:
        """Wait until all that was stopped goes on again."""
        for thread in self._stopped:
            thread.join()

    def _runner(self) -> str:
        return self._random.choice(RUNNERS)

    def _kill(self, name: str) -> None:
        self._cluster.parts[name].kill()

    def _terminate(self) -> None:
        self._cluster.parts[self._runner()].signal(signal.SIGTERM)

    def _beside(self, act: Callable[[], None]) -> None:
        self._stopped.append(threading.Thread(target=act))
        self._stopped[-1].start()

    def _lose_archive(self) -> None:
        for_s = self._random.uniform(0.5, 6.0)
        self._beside(lambda: self._archive.be_gone(for_s))

    def _fill_disk(self) -> None:
        for_s = self._random.uniform(0.2, 3.0)

        def fill() -> None:
            with self._filling:
                self._cluster.disk.be_full(for_s)

        self._beside(fill)

    def _stop_beyond_lease(self) -> None:
        part = self._cluster.parts[self._runner()]
        for_s = LEASE_S + self._random.uniform(0.5, 3.0)

        def stop() -> None:
            part.signal(signal.SIGSTOP)
            time.sleep(for_s)
            part.signal(signal.SIGCONT)

        self._beside(stop)

    def _empty(self) -> None:
        self.wipes.append(time.time())
        self._cluster.empty_valkey()

    def _flush(self) -> None:
        with suppress(redis.RedisError), redis.Redis.from_url(self._cluster.valkey.url) as client:
            self.wipes.append(time.time())
            client.flushall()

    def _restart_postgres(self) -> None:
        self._cluster.parts["postgres"].signal(signal.SIGQUIT)

    def _terminate_backends(self) -> None:
        with (
            suppress(psycopg.Error),
            psycopg.connect(self._cluster.postgres.url(), autocommit=True) as admin,
        ):
            admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = 'rdev' and pid <> pg_backend_pid()"
            )

    def _set_clock(self) -> None:
        """As seen by the rows: all their times lie an hour ahead, or back."""
        by = self._random.choice(["1 hour", "-1 hour"])
        moved = ", ".join(f"{column} = {column} + %(by)s::interval" for column in _TIMES)
        with (
            suppress(psycopg.Error),  # Postgres may be down, or somebody hold some of the rows
            psycopg.connect(self._cluster.postgres.url()) as sql,
        ):
            sql.execute(f"update commands set {moved}", {"by": by})

    def _cut(self, store: str) -> None:
        self._cluster.proxies[store].cut(self._random.uniform(0.0, 1.0))

    def _stall(self) -> None:
        """Also for longer than rdev waits for a store."""
        store = self._random.choice(["postgres", "valkey"])
        self._cluster.proxies[store].stall(self._random.uniform(0.5, 8.0))
