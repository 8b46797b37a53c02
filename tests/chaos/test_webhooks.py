"""Senders of webhooks killed again and again, by kill -9 and at every step of their way: each event
arrives, under one id."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from loopback_receiver import Answer, Got, receiving
from rdev.adapters.postgres.database import Database
from rdev.domain.callers import rdev_itself
from rdev.services.webhooks import EndpointWish, Webhooks

EVENTS = 2_000
BATCH = 100
LEASE_S = 1.0
PROCESS = Path(__file__).parents[1] / "delivering_process.py"
FAIL_POINTS = "delivery.*=0.002"


class Killed:
    """Senders that are killed at random moments and started again, until `calm()`."""

    def __init__(self, environment: dict[str, str], count: int = 2) -> None:
        self._environment = environment
        self._calm = threading.Event()
        self._ending = threading.Event()
        self.deaths = 0
        self._threads = [threading.Thread(target=self._keep) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _keep(self) -> None:
        chance = random.Random(7)
        while not self._ending.is_set():
            extra = {} if self._calm.is_set() else {"RDEV_FAIL_POINTS": FAIL_POINTS}
            process = subprocess.Popen(
                [sys.executable, str(PROCESS)],
                env=self._environment | extra,
                stdin=subprocess.DEVNULL,
            )
            try:
                self._until_death(process, time.monotonic() + chance.uniform(0.6, 2.5))
            finally:
                process.kill()
                process.wait()
            self.deaths += process.returncode == -signal.SIGKILL

    def _until_death(self, process: "subprocess.Popen[bytes]", at: float) -> None:
        while process.poll() is None and not self._ending.is_set():
            if not self._calm.is_set() and time.monotonic() > at:
                return
            time.sleep(0.02)

    def calm(self) -> None:
        self._calm.set()

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def killed(environment: dict[str, str]) -> Iterator[Killed]:
    senders = Killed(environment)
    try:
        yield senders
    finally:
        senders.end()


def misbehaving(_: Got) -> Answer:
    """One in ten fails, as receivers do."""
    return (500 if random.random() < 0.1 else 204), {}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_event_arrives_under_one_id_however_often_its_sender_is_killed(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    environment |= {
        "HOME": str(tmp_path),
        "RDEV_DATABASE_URL": database_url,
        "RDEV_REDIS_URL": redis_url,
        "RDEV_LEASE_S": str(LEASE_S),
        "RDEV_RENEW_S": "0.3",
        "RDEV_SWEEP_S": "0.5",
        "RDEV_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8",
        "RDEV_WEBHOOK_ALLOW_HTTP": "true",
        "RDEV_WEBHOOK_SCHEDULE_S": ",".join(["0"] + ["0.2"] * 30),
        "RDEV_WEBHOOK_BREAKER_FAILURES": "1000",
    }
    database = Database(database_url, pool_size=2, timeout_s=10)
    webhooks = Webhooks(
        database.transaction,
        refusal=lambda _: None,
        max_concurrent=8,
        now=lambda: datetime.now(UTC),
    )
    try:
        with receiving(misbehaving) as shaky, receiving() as good, killed(environment) as senders:
            for receiver in (shaky, good):
                webhooks.create(rdev_itself("tests"), EndpointWish(url=receiver.url))
            for _ in range(EVENTS // BATCH):
                with database.transaction() as tx:
                    for number in range(BATCH):
                        tx.outbox.add("key.created", {"number": number})
                time.sleep(0.5)  # so that there is work whenever one is killed
            senders.calm()
            _await_all_done(database_url)
            assert senders.deaths >= 10
            with psycopg.connect(database_url) as connection:
                events = {row[0] for row in connection.execute("select id from webhook_events")}
                states = connection.execute(
                    "select state, count(*) from webhook_deliveries group by state"
                ).fetchall()
            assert len(events) == EVENTS
            assert states == [("succeeded", 2 * EVENTS)]
            for receiver in (shaky, good):
                assert set(receiver.ids()) == events
            print(f"{senders.deaths} deaths, {len(good.got) - EVENTS} arrived twice")
    finally:
        database.close()


def _await_all_done(database_url: str) -> None:
    deadline = time.monotonic() + 120
    with psycopg.connect(database_url, autocommit=True) as connection:
        while True:
            row = connection.execute(
                "select count(*) from webhook_deliveries where state = 'pending'"
            ).fetchone()
            if row == (0,):
                return
            assert time.monotonic() < deadline, f"{row} still wait"
            time.sleep(0.1)
