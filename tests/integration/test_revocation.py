"""Four replicas and a loop that revokes: no request that began after the answer is let in."""

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import revocation_worker

from key_service import first_caller, key_service
from own_valkey import OwnValkey
from rdev.adapters.postgres.database import Database
from rdev.domain.callers import Caller
from rdev.errors import Unavailable
from rdev.services.keys import Grant, Keys

REPLICAS = 4


@contextmanager
def replicas(database_url: str, redis_url: str) -> Iterator[list["subprocess.Popen[str]"]]:
    command = [sys.executable, revocation_worker.__file__, database_url, redis_url]
    processes = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(Path(revocation_worker.__file__).parents[1])},
        )
        for _ in range(REPLICAS)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def revoke(keys: Keys, admin: Caller, key_id: str) -> float:
    """When it was answered, on whichever attempt."""
    while True:
        try:
            keys.revoke(admin, key_id)
        except Unavailable:
            time.sleep(0.01)
            continue
        return time.monotonic()


def rounds(keys: Keys, admin: Caller, processes: list["subprocess.Popen[str]"], count: int) -> None:
    for _ in range(count):
        grant = Grant("n", ("projects:read",), rate_limit=100_000)
        key, secret = keys.create(admin, grant)
        for process in processes:
            print(secret, file=process.stdin, flush=True)
        for process in processes:
            assert process.stdout.readline() == "warm\n"
        time.sleep(random.uniform(0, 0.2))
        answered = revoke(keys, admin, key.id)
        for process in processes:
            assert float(process.stdout.readline()) < answered


def test_no_request_that_began_after_the_answer_is_let_in(
    database: Database, database_url: str, redis_url: str
) -> None:
    keys = key_service(database, redis_url)
    admin = first_caller(keys, database)
    with replicas(database_url, redis_url) as processes:
        rounds(keys, admin, processes, 15)


@pytest.mark.slow
def test_nor_while_redis_restarts_empty(
    database: Database, database_url: str, valkey_of_its_own: OwnValkey
) -> None:
    keys = key_service(database, valkey_of_its_own.url)
    admin = first_caller(keys, database)
    over = threading.Event()
    lost = []

    def keep_losing_it() -> None:
        while not over.wait(random.uniform(0.05, 0.5)):
            valkey_of_its_own.lose()
            over.wait(random.uniform(0, 0.1))
            valkey_of_its_own.start()
            lost.append(time.monotonic())

    loser = threading.Thread(target=keep_losing_it)
    with replicas(database_url, valkey_of_its_own.url) as processes:
        loser.start()
        try:
            rounds(keys, admin, processes, 15)
        finally:
            over.set()
            loser.join()
    assert len(lost) >= 5
