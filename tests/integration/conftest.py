"""What the tests of services share: a database of the test's own, the service of keys, an admin,
and a clock that only the test moves."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from folder_house import House
from key_service import Clock, first_caller, key_service
from own_valkey import OwnValkey
from rdev.adapters.postgres.database import Database
from rdev.domain.callers import Caller
from rdev.services.keys import Keys


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, pool_size=10, timeout_s=20)
    # Connected before hypothesis draws anything: the pool's thread uses `random`, which it would
    # take for the test's own doing.
    database.ping(20)
    yield database
    database.close()


@pytest.fixture
def valkey_of_its_own(store_dir: Path) -> Iterator[OwnValkey]:
    folder = store_dir / f"own-{random.randrange(10**6)}"
    folder.mkdir()
    server = OwnValkey(folder)
    server.start()
    yield server
    server.lose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(database: Database, redis_url: str, clock: Clock) -> Keys:
    return key_service(database, redis_url, now=clock)


@pytest.fixture
def admin(keys: Keys, database: Database) -> Caller:
    return first_caller(keys, database)


@pytest.fixture
def house(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[House]:
    database = Database(database_url, pool_size=20, timeout_s=10)
    house = House(database, database_url, redis_url, tmp_path)
    yield house
    house.close()
    database.close()
