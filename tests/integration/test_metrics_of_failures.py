"""What metrics tell of stores that are away: the breakers, the pools, who counts alone."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from free_port import free_port
from functions_alone import FunctionAlone, functions_alone
from live_stack import ENOUGH_S, wait_for
from rdev.domain.key_secrets import new_secret
from rdev.platform.stores import Valkey
from scraping import Scrape


def scraped(function: FunctionAlone) -> Scrape:
    return Scrape(function.http.get("/metrics").body.decode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of the functions."""
    (place := tmp_path / "f").mkdir()
    return place


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A Valkey that a test may kill."""
    server = Valkey(tmp_path, Path(f"/tmp/rdev-mof-{os.getpid()}-{free_port()}.sock"))
    process = subprocess.Popen(server.command(), stdout=subprocess.DEVNULL)
    try:
        assert server.wait_ready(ENOUGH_S)
        process.url = server.url  # type: ignore[attr-defined]
        yield process
    finally:
        process.kill()
        process.wait()
        server.socket_path.unlink(missing_ok=True)


def test_a_redis_that_is_gone_shows_in_the_breaker_and_in_who_counts_alone(
    database_url: str, own_valkey: "subprocess.Popen[bytes]", folder: Path
) -> None:
    url = own_valkey.url  # type: ignore[attr-defined]
    with functions_alone(database_url, url, folder, store_timeout_s=2) as functions:
        keys = functions["keys"]
        assert keys.http.get("/keys").status == 200
        well = scraped(keys)
        assert well.total("rdev_breaker_open", breaker="gate") == 0
        assert well.total("rdev_limiter_fallbacks_total") == 0
        assert well.total("rdev_redis_pool_connections", pool="gate") >= 1
        own_valkey.send_signal(signal.SIGKILL)
        own_valkey.wait()

        def told() -> bool:
            assert keys.http.get("/keys").status == 200  # Postgres says the same
            return scraped(keys).total("rdev_breaker_open", breaker="gate") == 1

        wait_for(told)
        assert scraped(keys).total("rdev_limiter_fallbacks_total") >= 1
        assert scraped(keys).total("rdev_postgres_unavailable_total") == 0


def test_a_postgres_that_is_gone_shows_in_who_waits_and_in_what_failed(
    valkey: Valkey, folder: Path
) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    with functions_alone(
        nowhere, valkey.url, folder, key=new_secret(), database_pool_size=3, store_timeout_s=2
    ) as functions:
        keys, system = functions["keys"], functions["system"]
        statuses: list[int] = []
        client = keys.http

        def ask() -> None:
            statuses.append(client.get("/keys").status)

        asking = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
        for thread in asking:
            thread.start()
        wait_for(lambda: scraped(keys).total("rdev_postgres_pool_waiting") >= 1)
        for thread in asking:
            thread.join(ENOUGH_S)
        assert statuses == [503] * 4
        told = scraped(keys)
        assert told.total("rdev_postgres_unavailable_total") >= 4
        assert told.total("rdev_postgres_pool_limit") == 3
        assert told.total("rdev_postgres_pool_connections", state="idle") == 0
        # What cannot be asked is not told, rather than told as nothing.
        assert not [f for f in scraped(system).families if f.name == "rdev_queue_commands"]


def test_an_archive_that_fails_shows_in_its_breaker_and_its_calls(
    database_url: str, valkey: Valkey, folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "archive"
    place.write_text("a file where a folder should be")
    with functions_alone(database_url, valkey.url, folder, archive_url=place) as functions:
        system = functions["system"]

        def told() -> bool:
            system.http.get("/ready")
            return scraped(system).total("rdev_breaker_open", breaker="archive") == 1

        wait_for(told)
        failed = {"operation": "ping", "result": "unavailable"}
        assert scraped(system).total("rdev_archive_operation_seconds_count", **failed) >= 5
        place.unlink()

        def over() -> bool:
            system.http.get("/ready")
            done = {"operation": "ping", "result": "done"}
            return scraped(system).total("rdev_archive_operation_seconds_count", **done) >= 1

        wait_for(over)
        assert scraped(system).total("rdev_breaker_open", breaker="archive") == 0
