"""/health and /ready of each function, beside stores that hang, are gone and come back."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from test_functions import NOUNS, Function, Start, admin_key, start  # noqa: F401 - fixtures

from free_port import free_port
from live_stack import ENOUGH_S, wait_for
from rdev.platform.stores import Valkey

AT_ONCE = 40


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A Valkey that a test may freeze or kill."""
    server = Valkey(tmp_path, Path(f"/tmp/rdev-probe-{os.getpid()}-{free_port()}.sock"))
    process = subprocess.Popen(server.command(), stdout=subprocess.DEVNULL)
    assert server.wait_ready(ENOUGH_S)
    process.url = server.url  # type: ignore[attr-defined]
    yield process
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()
    server.socket_path.unlink(missing_ok=True)


def storm(function: Function) -> list[int]:
    """What each of many probes at once is answered."""
    statuses: list[int] = []

    def probe() -> None:
        statuses.append(function.http.get("/ready").status)

    threads = [threading.Thread(target=probe) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def await_ready(function: Function) -> None:
    """The first look also loads the drivers and connects, which may outlast it."""
    wait_for(lambda: function.http.get("/ready").status == 200)


def check(function: Function, name: str) -> dict[str, str]:
    return function.http.get("/ready").data["checks"][name]


@pytest.mark.parametrize("noun", NOUNS)
def test_every_function_has_both(start: Start, noun: str) -> None:  # noqa: F811
    function = start(noun)
    assert function.http.get("/health").data["status"] == "ok"
    ready = wait_for(lambda: (it := function.http.get("/ready")).status == 200 and it)
    assert ready.data["checks"]["postgres"] == {"status": "ok"}
    assert ready.data["checks"]["redis"] == {"status": "ok"}
    assert ("archive" in ready.data["checks"]) == (noun in ("exec", "events", "runner", "system"))


def test_a_redis_that_hangs_makes_not_ready_and_piles_nothing_up(
    start: Start,  # noqa: F811
    own_valkey: "subprocess.Popen[bytes]",
) -> None:
    function = start("system", redis_url=own_valkey.url)  # type: ignore[attr-defined]
    await_ready(function)
    own_valkey.send_signal(signal.SIGSTOP)
    wait_for(lambda: function.http.get("/ready").status == 503)
    before = threads_of(function)
    for _ in range(3):
        assert storm(function) == [503] * AT_ONCE
        assert function.http.get("/health").status == 200
    assert threads_of(function) <= before + 8 + 4  # the server's own, and a look each
    assert check(function, "postgres") == {"status": "ok"}
    own_valkey.send_signal(signal.SIGCONT)
    await_ready(function)


def test_a_redis_that_is_gone_is_named_with_a_reason(
    start: Start,  # noqa: F811
    own_valkey: "subprocess.Popen[bytes]",
) -> None:
    function = start("keys", redis_url=own_valkey.url)  # type: ignore[attr-defined]
    await_ready(function)
    own_valkey.kill()
    own_valkey.wait()
    wait_for(lambda: function.http.get("/ready").status == 503)
    assert "Redis does not answer" in check(function, "redis")["reason"]


def test_a_postgres_that_freezes_makes_not_ready_until_it_goes_on(
    start: Start,  # noqa: F811
    database_url: str,
) -> None:
    """Its backends alone are frozen: the connections stay, and nothing comes back."""
    function = start("keys", store_timeout_s=2)
    await_ready(function)
    frozen: list[int] = []
    try:
        frozen = freeze_backends(database_url)
        wait_for(lambda: function.http.get("/ready").status == 503)
        assert storm(function) == [503] * AT_ONCE
        assert function.http.get("/health").status == 200
        assert check(function, "redis") == {"status": "ok"}
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    # The one that hung was closed, so another is made.
    await_ready(function)


def test_a_storm_of_probes_does_not_multiply_into_connections(
    start: Start,  # noqa: F811
    database_url: str,
) -> None:
    function = start("keys")
    for _ in range(5):
        storm(function)
    with psycopg.connect(database_url) as sql:
        (there,) = sql.execute(
            "select count(*) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        ).fetchone()
    assert there <= 2  # of the eight that its pool may have


def test_an_archive_that_fails_degrades_and_its_breaker_opens(
    start: Start,  # noqa: F811
    tmp_path: Path,
) -> None:
    place = tmp_path / "archive"
    place.write_text("a file where a folder should be")
    function = start("system", archive_url=place)
    await_ready(function)
    assert function.http.get("/ready").data["status"] == "degraded"
    wait_for(lambda: "RDEV_ARCHIVE_URL" in check(function, "archive")["reason"])
    wait_for(lambda: check(function, "archive")["breaker"] == "open")
    place.unlink()
    wait_for(lambda: check(function, "archive") == {"status": "ok", "breaker": "closed"})


def threads_of(function: Function) -> int:
    processes = [psutil.Process(function.process.pid)]
    processes += processes[0].children(recursive=True)
    return sum(each.num_threads() for each in processes)


def freeze_backends(url: str) -> list[int]:
    with psycopg.connect(url) as sql:
        rows = sql.execute(
            "select pid from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        ).fetchall()
    for (pid,) in rows:
        os.kill(pid, signal.SIGSTOP)
    return [pid for (pid,) in rows]
