"""Denials in the audit log: few rows however many there are, and none forgotten."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from ipaddress import IPv4Address, IPv6Address

import psycopg
import pytest

from rdev.adapters.postgres.database import Database
from rdev.domain.addresses import Address
from rdev.domain.audit import AuditRow
from rdev.ports import Transaction
from rdev.services.denials import Denial, Denials

DOWN = "postgresql://nobody@127.0.0.1:9/none"
HOME = IPv4Address("192.0.2.7")


class Store:
    """The database, or one that is away; counts how often it was tried."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.tried = 0

    def __call__(self) -> AbstractContextManager[Transaction]:
        self.tried += 1
        return self.database.transaction()


class Time:
    """Goes on by hand, and does then what was to be done later."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        self.due.append((self.now + delay_s, act))

    def clock(self) -> float:
        return self.now

    def go_on(self, seconds: float) -> None:
        self.now += seconds
        ripe = [act for at, act in self.due if at <= self.now]
        self.due = [(at, act) for at, act in self.due if at > self.now]
        for act in ripe:
            act()


@pytest.fixture
def away() -> Iterator[Database]:
    database = Database(DOWN, pool_size=1, timeout_s=0.2)
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def denials(store: Store, time: Time) -> Denials:
    return Denials(store, time.later, clock=time.clock)


def denial(
    address: Address | None = HOME, key_id: str | None = None, code: str = "UNAUTHORIZED"
) -> Denial:
    return Denial(code, address, key_id, None, "req-1", "GET", "/keys/<key_id>")


def rows(database: Database) -> list[AuditRow]:
    with database.transaction() as tx:
        return list(tx.audit.list(before=None, limit=10_000, action="denied"))


def total(found: list[AuditRow]) -> int:
    return sum(row.entry.details["count"] for row in found)


def test_the_first_is_in_the_log_at_once_with_all_that_is_known(
    denials: Denials, database: Database
) -> None:
    denials.note(Denial("FORBIDDEN", HOME, "key-1", "ci", "req-9", "POST", "/keys"))
    (row,) = rows(database)
    entry = row.entry
    assert (entry.action, entry.outcome, entry.request_id) == ("denied", "FORBIDDEN", "req-9")
    assert (entry.key_id, entry.key_name, entry.address) == ("key-1", "ci", str(HOME))
    assert dict(entry.details) == {"count": 1, "method": "POST", "route": "/keys"}


def test_ten_thousand_from_many_threads_make_few_rows_with_the_right_total(
    denials: Denials, database: Database, time: Time
) -> None:
    kinds = [denial(), denial(code="FORBIDDEN", key_id="key-1"), denial(IPv4Address("192.0.2.8"))]

    def flood() -> None:
        for number in range(1250):
            denials.note(kinds[number % len(kinds)])

    threads = [threading.Thread(target=flood) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.go_on(60)
    found = rows(database)
    assert total(found) == 10_000
    assert len(found) <= 2 * len(kinds)


def test_a_flood_that_goes_on_makes_one_row_a_minute(
    denials: Denials, database: Database, time: Time
) -> None:
    for _ in range(5):
        for _ in range(10):
            denials.note(denial())
        time.go_on(60)
    assert [row.entry.details["count"] for row in reversed(rows(database))] == [1, 9, *[10] * 4]


def test_what_was_quiet_for_a_while_is_written_at_once_again_and_nothing_ticks_meanwhile(
    denials: Denials, database: Database, time: Time
) -> None:
    denials.note(denial())
    time.go_on(30)
    time.go_on(30)
    denials.note(denial())
    assert total(rows(database)) == 1
    for _ in range(4):
        time.go_on(60)
    assert total(rows(database)) == 2
    assert time.due == []
    denials.note(denial())
    assert total(rows(database)) == 3


def test_addresses_that_are_too_many_to_tell_apart_share_a_row(
    denials: Denials, database: Database, time: Time
) -> None:
    for number in range(3000):
        denials.note(denial(IPv4Address(0x0A000000 + number), key_id="key-1"))
    time.go_on(60)
    found = rows(database)
    assert total(found) == 3000
    shared = [row.entry for row in found if row.entry.address is None]
    assert len(found) == 100 + len(shared)
    assert len(shared) <= 2
    assert {entry.key_id for entry in shared} == {None}
    assert all(entry.details["overflow"] for entry in shared)


def test_an_ipv6_neighbourhood_is_one_address(
    denials: Denials, database: Database, time: Time
) -> None:
    for number in range(100):
        denials.note(denial(IPv6Address(f"2001:db8::{number:x}")))
    time.go_on(60)
    second, first = (row.entry for row in rows(database))
    assert (first.address, second.address) == ("2001:db8::", "2001:db8::/64")
    assert second.details["count"] == 99


def test_with_the_store_down_denials_go_on_and_are_written_when_it_is_back(
    denials: Denials, store: Store, away: Database, database: Database, time: Time
) -> None:
    store.database = away
    for number in range(50):
        denials.note(denial(IPv4Address(0x0A000000 + number)))
    assert store.tried == 1, "each of them waited for the store"
    time.go_on(6)
    denials.note(denial(IPv4Address("10.1.0.0")))
    assert store.tried == 2
    time.go_on(54)
    assert store.tried == 3
    store.database = database
    time.go_on(60)
    assert total(rows(database)) == 51


def test_without_its_table_a_denial_is_a_denial_all_the_same(
    denials: Denials, store: Store, database_url: str, time: Time
) -> None:
    with psycopg.connect(database_url, autocommit=True) as superuser:
        superuser.execute("drop table audit_log")
    denials.note(denial())
    denials.note(denial(code="FORBIDDEN"))
    assert store.tried == 1
