"""What the doctor says of clocks, certificates, old queues and late sweeps."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from rdev.config import SOURCE_ROOT
from rdev.doctor.findings import Finding, Level, Trouble, examine
from rdev.doctor.outside import Outside
from rdev.doctor.queue import judged_queue, judged_sweep
from rdev.doctor.stores import PostgresChecks, RedisChecks
from rdev.domain.sweeps import LastSweep

IDLE = [{"waiting": 0, "running": 0, "oldest_s": 0.0}]
BUSY = [{"waiting": 2, "running": 1, "oldest_s": 30.0}]


def an_hour_ahead() -> float:
    return time.time() + 3600


def postgres_checks(url: str, now: Callable[[], float]) -> PostgresChecks:
    return PostgresChecks(url, SOURCE_ROOT / "migrations", now, max_concurrent=5)


def named(found: Iterator[Finding]) -> dict[str, Finding]:
    return {each.check: each for each in found}


def test_a_clock_that_is_off_is_found_at_both_stores(database_url: str, redis_url: str) -> None:
    postgres = postgres_checks(database_url, an_hour_ahead)
    redis = RedisChecks(redis_url, an_hour_ahead)
    found = named(examine("inside", [*postgres.checks(), *redis.checks()]))
    for check in ("postgres clock", "redis clock"):
        assert found[check].level is Level.FAIL
        assert "behind ours" in found[check].found
        assert "NTP" in found[check].todo
    assert found["migrations"].level is Level.OK


def test_a_database_that_nobody_migrated_is_found(postgres_url: str, redis_url: str) -> None:
    checks = postgres_checks(postgres_url, time.time).checks()
    found = named(examine("inside", checks))
    assert found["migrations"].level is Level.FAIL
    assert found["queue"].level is Level.SKIPPED


@pytest.mark.parametrize(
    ("depth", "claimable", "level"),
    [
        (IDLE, None, None),
        (BUSY, None, None),
        (BUSY, 2, None),
        ([{"waiting": 9, "running": 5, "oldest_s": 90.0}], None, Level.WARN),
        ([{"waiting": 1, "running": 0, "oldest_s": 90.0}], None, Level.FAIL),
        ([{"waiting": 9, "running": 5, "oldest_s": 900.0}], None, Level.WARN),
        ([{"waiting": 9, "running": 5, "oldest_s": 900.0}], 0, Level.WARN),
        ([{"waiting": 9, "running": 5, "oldest_s": 90.0}], 9, Level.WARN),
        ([{"waiting": 9, "running": 5, "oldest_s": 900.0}], 9, Level.FAIL),
        ([{"waiting": 1, "running": 0, "oldest_s": 90.0}], 1, Level.FAIL),
        ([{"waiting": 1, "running": 0, "oldest_s": 900.0}], 0, Level.WARN),
    ],
)
def test_a_queue_is_judged_by_what_could_run_and_does_not(
    depth: list[dict[str, float]], claimable: int | None, level: Level | None
) -> None:
    """Not by what a limit holds: nobody would have to look at a runner for that."""
    if level is None:
        assert "wait" in judged_queue(depth, claimable)
        return
    with pytest.raises(Trouble) as caught:
        judged_queue(depth, claimable)
    assert caught.value.level is level


@pytest.mark.parametrize(
    ("last", "depth", "level"),
    [
        (LastSweep(3, 3, ""), BUSY, None),
        (LastSweep(3, 3, "The archive is away."), BUSY, Level.WARN),
        (LastSweep(9000, 9000, ""), IDLE, Level.WARN),
        (LastSweep(9000, 9000, ""), BUSY, Level.FAIL),
        (LastSweep(3, 9000, "Redis does not answer."), IDLE, Level.FAIL),
        (LastSweep(3, None, "Redis does not answer."), IDLE, Level.FAIL),
        (None, BUSY, Level.FAIL),
    ],
)
def test_a_sweep_is_judged_by_its_age(last, depth, level: Level | None) -> None:
    if level is None:
        assert "swept" in judged_sweep(last, depth)
        return
    with pytest.raises(Trouble) as caught:
        judged_sweep(last, depth)
    assert caught.value.level is level


@contextmanager
def tls(authority: trustme.CA, **certificate: object) -> Iterator[int]:
    """A port where somebody shakes hands."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", **certificate).configure_cert(context)  # type: ignore[arg-type]
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(60)

    def serve() -> None:
        with suppress(OSError, ssl.SSLError):
            while True:
                link, _ = listener.accept()
                with suppress(OSError, ssl.SSLError), context.wrap_socket(link, server_side=True):
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.parametrize(
    ("days", "trusted", "level"),
    [
        (90, True, Level.OK),
        (5, True, Level.WARN),
        (-1, True, Level.FAIL),
        (90, False, Level.FAIL),
    ],
)
def test_a_certificate_is_judged_before_it_is_relied_on(
    days: int,
    trusted: bool,
    level: Level,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority = trustme.CA()
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    expires = datetime.now(UTC) + timedelta(days=days, hours=1)
    begins = datetime.now(UTC) - timedelta(days=30)
    with tls(authority, not_after=expires, not_before=begins) as port:
        looker = Outside(f"https://localhost:{port}", "rdev_x")
        try:
            found = named(examine("outside", looker.checks(), ["rdev_x"]))
        finally:
            looker.close()
    assert found["certificate"].level is level, found["certificate"]
    if level is Level.FAIL:
        assert found["health"].level is Level.SKIPPED
