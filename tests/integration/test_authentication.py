"""Who is let in, over the real stores: secrets, addresses, revocation, rotation, lost stores."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import pytest
import redis
from cachetools import LRUCache

from key_service import NOWHERE, Clock, authentication, first_caller, gate_at, key_service
from live_stack import wait_for
from own_valkey import OwnValkey
from rdev.adapters.postgres.database import Database
from rdev.domain.addresses import parse_networks
from rdev.domain.callers import Caller
from rdev.domain.key_secrets import new_secret
from rdev.domain.keys import Key
from rdev.domain.rate_limits import SlidingWindow
from rdev.errors import Conflict, Forbidden, NotFound, TooManyRequests, Unauthorized, Unavailable
from rdev.services.authentication import Authentication
from rdev.services.keys import Grant, Keys
from rdev.services.slowdown import Slowdown

HOME = ip_address("192.0.2.7")
READER = Grant("n", ("projects:read",))


@pytest.fixture
def door(database: Database, redis_url: str, clock: Clock) -> Authentication:
    return authentication(database, redis_url, now=clock)


def refused(door: Authentication, secret: str) -> bool:
    try:
        door.admit(secret, HOME)
    except Unauthorized:
        return True
    return False


def record(database: Database, key: Key) -> Key:
    with database.transaction() as tx:
        found = tx.keys.get(key.id)
    assert found
    return found


def warmed(door: Authentication, secret: str) -> str:
    """Until the process and the gate both know the key."""
    for _ in range(3):
        door.admit(secret, HOME)
    return secret


def test_a_revoked_key_is_refused_at_the_next_request(
    keys: Keys, admin: Caller, door: Authentication
) -> None:
    key, secret = keys.create(admin, READER)
    warmed(door, secret)
    first = keys.revoke(admin, key.id).revoked_at
    assert refused(door, secret)
    assert keys.revoke(admin, key.id).revoked_at == first


def test_a_known_key_is_let_in_without_asking_postgres(
    keys: Keys, admin: Caller, door: Authentication, database: Database
) -> None:
    secret = warmed(door, keys.create(admin, READER)[1])
    database.close()
    assert door.admit(secret, HOME).key.name == "n"


def test_every_wrong_secret_gets_the_same_words(
    keys: Keys, admin: Caller, door: Authentication
) -> None:
    key, revoked = keys.create(admin, READER)
    keys.revoke(admin, key.id)
    said = set()
    for secret in ("", "rdev_x", new_secret(), revoked, "\0", "é" * 43):
        with pytest.raises(Unauthorized) as caught:
            door.admit(secret, HOME)
        said.add(caught.value.message)
    assert len(said) == 1


def test_an_expired_key_is_refused_also_where_it_is_cached(
    keys: Keys, admin: Caller, door: Authentication, clock: Clock
) -> None:
    over = Grant("n", ("projects:read",), expires_at=clock.time + timedelta(seconds=10))
    secret = warmed(door, keys.create(admin, over)[1])
    clock.time += timedelta(seconds=10)
    assert refused(door, secret)


def test_a_key_is_used_from_where_it_may_be_used_alone(
    keys: Keys, admin: Caller, door: Authentication
) -> None:
    bound = Grant(
        "n", ("projects:read",), allowed_ips=parse_networks(["192.0.2.0/28", "2001:db8::/32"])
    )
    key, secret = keys.create(admin, bound)
    warmed(door, secret)
    door.admit(secret, ip_address("2001:db8::1"))
    for address in (ip_address("192.0.2.16"), ip_address("::1"), None):
        with pytest.raises(Forbidden, match="address"):
            door.admit(secret, address)
    keys.revoke(admin, key.id)
    with pytest.raises(Unauthorized):  # and a revoked key says the same everywhere
        door.admit(secret, ip_address("192.0.2.16"))


def test_requests_from_elsewhere_use_up_nothing_of_a_key(
    keys: Keys, admin: Caller, door: Authentication
) -> None:
    bound = Grant("n", ("projects:read",), allowed_ips=parse_networks([str(HOME)]))
    secret = warmed(door, keys.create(admin, bound)[1])
    for _ in range(30):
        with pytest.raises(Forbidden):
            door.admit(secret, ip_address("198.51.100.1"))
    assert door.admit(secret, HOME).window.allowed


def test_after_a_rotation_both_secrets_are_good_until_the_overlap_is_over(
    keys: Keys, admin: Caller, door: Authentication, clock: Clock
) -> None:
    key, old = keys.create(admin, READER)
    warmed(door, old)
    rotated, new = keys.rotate(admin, key.id, overlap_s=60)
    assert rotated.id == key.id
    assert rotated.hint != key.hint
    warmed(door, old)
    warmed(door, new)
    clock.time += timedelta(seconds=60)
    assert refused(door, old)
    assert not refused(door, new)


def test_a_rotation_without_overlap_ends_the_old_secret_at_once(
    keys: Keys, admin: Caller, door: Authentication
) -> None:
    key, old = keys.create(admin, READER)
    warmed(door, old)
    keys.rotate(admin, key.id, overlap_s=0)
    assert refused(door, old)


def test_a_second_rotation_ends_the_secret_before_the_last(
    keys: Keys, admin: Caller, door: Authentication
) -> None:
    key, first = keys.create(admin, READER)
    warmed(door, first)
    second = keys.rotate(admin, key.id, overlap_s=600)[1]
    keys.rotate(admin, key.id, overlap_s=600)
    assert refused(door, first)
    assert not refused(door, second)


def test_a_revocation_ends_both_secrets(keys: Keys, admin: Caller, door: Authentication) -> None:
    key, old = keys.create(admin, READER)
    new = keys.rotate(admin, key.id, overlap_s=600)[1]
    warmed(door, old)
    warmed(door, new)
    keys.revoke(admin, key.id)
    assert refused(door, old)
    assert refused(door, new)
    with pytest.raises(Conflict, match="revoked"):
        keys.rotate(admin, key.id, overlap_s=0)


def test_nobody_takes_over_a_key_that_holds_more(keys: Keys, admin: Caller) -> None:
    lesser = Caller(keys.create(admin, Grant("m", ("keys:admin",)))[0])
    with pytest.raises(Forbidden, match="scopes"):
        keys.rotate(lesser, admin.key.id, overlap_s=0)
    with pytest.raises(Forbidden, match="scopes"):
        keys.create(lesser, Grant("n", ("admin",)))


def test_a_bound_key_oversees_only_keys_within_its_projects(keys: Keys, admin: Caller) -> None:
    bound = Caller(keys.create(admin, Grant("m", ("keys:admin",), projects=("web",)))[0])
    inside = keys.create(admin, Grant("a", ("keys:admin",), projects=("web",)))[0]
    outside = keys.create(admin, Grant("b", ("keys:admin",), projects=("api",)))[0]
    listed, _ = keys.list(bound, before=None, limit=100)
    assert {key.id for key in listed} == {bound.key.id, inside.id}
    first, cursor = keys.list(bound, before=None, limit=1)
    rest, end = keys.list(bound, before=cursor, limit=1)
    assert [key.id for key in [*first, *rest]] == [inside.id, bound.key.id]
    assert end is None
    for act in (keys.get, keys.revoke):
        with pytest.raises(NotFound):
            act(bound, outside.id)
    with pytest.raises(NotFound):
        keys.rotate(bound, admin.key.id, overlap_s=0)


def test_when_redis_is_emptied_the_database_is_asked(
    keys: Keys, admin: Caller, door: Authentication, redis_url: str
) -> None:
    key, secret = keys.create(admin, READER)
    warmed(door, secret)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        assert not refused(door, secret)
        keys.revoke(admin, key.id)
        client.flushall()
    assert refused(door, secret)


def test_what_was_read_before_a_loss_fills_nothing_in_after_it(redis_url: str) -> None:
    gate = gate_at(redis_url)
    entry = gate.enter("key-1", 10)
    assert entry.version is None
    assert entry.fill is not None
    assert gate.enter("key-1", 10).fill is None  # one at a time
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()  # and with it whatever a revocation said
    gate.fill("key-1", entry.fill, 1)
    later = gate.enter("key-1", 10)
    assert later.version is None
    assert later.fill is not None
    gate.publish("key-1", 2)  # a revocation
    gate.fill("key-1", later.fill, 1)
    assert gate.enter("key-1", 10).version == 2
    gate.publish("key-1", 1)  # comes late
    assert gate.enter("key-1", 10).version == 2
    gate.suspend("key-1")
    suspended = gate.enter("key-1", 10)
    assert (suspended.version, suspended.fill) == (None, None)


def test_without_redis_every_request_asks_the_database_and_is_counted_here(
    database: Database, keys: Keys, admin: Caller, clock: Clock
) -> None:
    alone: list[None] = []
    door = authentication(database, NOWHERE, now=clock, fell_back=lambda: alone.append(None))
    key, secret = keys.create(admin, Grant("n", ("projects:read",), rate_limit=3))
    allowed = [door.admit(secret, HOME).window.allowed for _ in range(5)]
    assert allowed == [True, True, True, False, False]
    assert len(alone) == 5
    keys.revoke(admin, key.id)
    assert refused(door, secret)


def test_without_redis_each_key_has_a_window_of_its_own_that_slides(
    database: Database, keys: Keys, admin: Caller, clock: Clock
) -> None:
    door = authentication(database, NOWHERE, now=clock)
    one, other = (
        keys.create(admin, Grant("n", ("projects:read",), rate_limit=2))[1] for _ in range(2)
    )

    def let_in(secret: str) -> bool:
        return door.admit(secret, HOME).window.allowed

    assert [let_in(one), let_in(one), let_in(one)] == [True, True, False]
    assert let_in(other)
    said = door.admit(one, HOME).window
    assert (said.limit, said.remaining) == (2, 0)
    clock.time += timedelta(milliseconds=said.retry_ms - 1)
    assert not let_in(one)
    clock.time += timedelta(milliseconds=1)
    assert [let_in(one), let_in(one)] == [True, True]
    clock.time -= timedelta(hours=1)
    assert not let_in(one)


def test_the_windows_of_this_process_are_bounded_and_none_in_use_begins_anew(
    database: Database, keys: Keys, admin: Caller, clock: Clock
) -> None:
    windows: LRUCache[str, SlidingWindow] = LRUCache(2)
    door = authentication(database, NOWHERE, now=clock, windows=windows)
    used, *others = (
        keys.create(admin, Grant("n", ("projects:read",), rate_limit=1))[1] for _ in range(5)
    )
    assert door.admit(used, HOME).window.allowed
    for other in others:
        assert door.admit(other, HOME).window.allowed
        assert not door.admit(used, HOME).window.allowed
    assert len(windows) == 2


def test_a_redis_that_is_lost_and_comes_back_is_said_once_each(
    database: Database,
    clock: Clock,
    valkey_of_its_own: OwnValkey,
    caplog: pytest.LogCaptureFixture,
) -> None:
    keys = key_service(database, valkey_of_its_own.url)
    admin = first_caller(keys, database)
    _, secret = keys.create(admin, Grant("n", ("projects:read",), rate_limit=100_000))
    alone: list[None] = []
    door = authentication(
        database, valkey_of_its_own.url, now=clock, fell_back=lambda: alone.append(None)
    )
    said = lambda: [  # noqa: E731
        record.message for record in caplog.records if "rate limits are counted" in record.message
    ]
    warmed(door, secret)
    assert (alone, said()) == ([], [])
    valkey_of_its_own.lose()
    for count in range(1, 4):
        assert door.admit(secret, HOME).window.allowed
        assert len(alone) == count
    assert len(said()) == 1
    assert "in each process alone" in said()[0]
    valkey_of_its_own.start()

    def together_again() -> bool:
        before = len(alone)
        door.admit(secret, HOME)
        return len(alone) == before

    wait_for(together_again)
    door.admit(secret, HOME)
    assert len(said()) == 2
    assert "together again" in said()[1]


def test_a_revocation_that_redis_cannot_be_told_of_says_so_and_is_recorded(
    database: Database, keys: Keys, admin: Caller, door: Authentication
) -> None:
    key, secret = keys.create(admin, READER)
    cut_off = key_service(database, NOWHERE)
    with pytest.raises(Unavailable, match="Revoke it again"):
        cut_off.revoke(admin, key.id)
    assert record(database, key).revoked_at is not None
    keys.revoke(admin, key.id)
    assert refused(door, secret)


def test_a_rotation_that_redis_cannot_be_told_of_changes_nothing(
    database: Database, keys: Keys, admin: Caller, door: Authentication
) -> None:
    key, secret = keys.create(admin, READER)
    with pytest.raises(Unavailable):
        key_service(database, NOWHERE).rotate(admin, key.id, overlap_s=0)
    assert record(database, key).rotated_at is None
    assert not refused(door, secret)


def test_keys_outlive_their_pepper(database: Database, redis_url: str, clock: Clock) -> None:
    old, new = "1:" + "o" * 32, "2:" + "n" * 32
    secret = key_service(database, redis_url, pepper=old).create_first()
    assert secret
    assert refused(authentication(database, redis_url, pepper=new), secret)
    assert not refused(authentication(database, redis_url, pepper=f"{new}\n{old}"), secret)
    # It was stored anew at its use: the old pepper is not needed any more.
    assert not refused(authentication(database, redis_url, pepper=new), secret)


def test_a_lost_admin_key_is_replaced_by_who_has_the_database(
    keys: Keys, admin: Caller, door: Authentication
) -> None:
    assert keys.create_first() is None
    assert door.admit(keys.recover(), HOME).key.allows("admin")


def test_last_use_is_noted_and_never_goes_back(
    keys: Keys, admin: Caller, door: Authentication, database: Database, clock: Clock
) -> None:
    key, secret = keys.create(admin, READER)
    door.admit(secret, HOME)
    seen = record(database, key)
    assert (seen.last_used_at, seen.last_used_ip) == (clock.time, HOME)
    with database.transaction() as tx:
        tx.keys.note_use({key.id: (clock.time - timedelta(hours=1), None)})
    assert record(database, key) == seen


def test_failures_of_one_address_wait_longer_and_longer_and_good_keys_never(
    database: Database, redis_url: str, keys: Keys, admin: Caller
) -> None:
    slept: list[float] = []
    door = authentication(database, redis_url, slept=slept)
    for _ in range(25):
        refused(door, new_secret())
    assert slept == sorted(slept)
    assert len(slept) == 15
    assert max(slept) == 1.0
    door.admit(keys.create(admin, READER)[1], HOME)
    with pytest.raises(Unauthorized):
        door.admit(new_secret(), ip_address("192.0.2.8"))
    assert len(slept) == 15


class OneAtATime(dict):
    """As cachetools' are: it breaks where two threads are in it at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = 0

    def _enter(self, do):
        self.inside += 1
        time.sleep(0.0005)
        alone, self.inside = self.inside == 1, self.inside - 1
        if not alone:
            raise RuntimeError("two threads in one cache")
        return do()

    def get(self, *args):
        return self._enter(lambda: super(OneAtATime, self).get(*args))

    def pop(self, *args):
        return self._enter(lambda: super(OneAtATime, self).pop(*args))

    def __setitem__(self, *args):
        return self._enter(lambda: super(OneAtATime, self).__setitem__(*args))


def test_threads_share_what_is_known_of_keys(
    keys: Keys, admin: Caller, database: Database, redis_url: str
) -> None:
    door = authentication(database, redis_url, known=OneAtATime())
    secrets = [keys.create(admin, replace(READER, rate_limit=100_000))[1] for _ in range(8)]

    def come_in(secret: str) -> None:
        for _ in range(20):
            assert door.admit(secret, HOME).window.allowed
            with pytest.raises(Unauthorized):
                door.admit(new_secret(), ip_address("203.0.113.9"))

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(come_in, secret) for secret in secrets]:
            done.result(60)


def test_failures_that_wait_leave_threads_for_good_keys() -> None:
    """Each would hold a thread of the server's, of which there are few."""
    sleeping, wake = threading.Semaphore(0), threading.Event()

    def sleep(_s: float) -> None:
        sleeping.release()
        assert wake.wait(60)

    slowdown = Slowdown({}, sleep, free=0)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(slowdown.failed, HOME) for _ in range(4)]
        try:
            for _ in waiting:
                assert sleeping.acquire(timeout=60)
            with pytest.raises(TooManyRequests):
                slowdown.failed(HOME)
        finally:
            wake.set()
        for each in waiting:
            each.result(60)
