"""`rdev doctor` on a whole `rdev up` which these tests break in one way after another."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
import pytest
import redis

from buffering_proxy import buffering
from free_port import free_port
from live_stack import Stack, running_stack, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.own_stack]
ANCIENT = "Tue, 24 Nov 2020 00:00:00 GMT"
Findings = dict[tuple[str, str], dict[str, str]]


@pytest.fixture(scope="module")
def sick() -> Iterator[Stack]:
    with running_stack() as stack:
        # Whichever test comes first: somebody has swept by then.
        wait_for(lambda: stack.admin.get("/ready").data["status"] == "ok")
        yield stack


def doctor(stack: Stack, *flags: str, **environment: str) -> tuple[int, Findings]:
    """Its exit code, and its findings by where and check. No secret may be in what it says."""
    key = stack.home.parent / "doctor.key"
    key.write_text(stack.admin_key)
    argv = [sys.executable, "-m", "rdev.cli.main", "doctor", "--json", *flags]
    argv += ["--home", str(stack.home), "--key-file", str(key)]
    if "--server" not in flags:
        argv += ["--server", stack.base_url]
    env = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        argv,
        env=env | {"HOME": str(stack.home)} | environment,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    said = done.stdout + done.stderr
    for secret in (stack.admin_key, (stack.home / "secrets" / "pepper").read_text().strip()):
        assert secret not in said
    report = json.loads(done.stdout)
    found = {(each["where"], each["check"]): each for each in report["findings"]}
    worst = {each["status"] for each in found.values()}
    assert report["status"] == ("fail" if "fail" in worst else "warn" if "warn" in worst else "ok")
    assert (done.returncode == 1) == (report["status"] == "fail")
    assert [each for each in found.values() if each["status"] == "fail" and not each["todo"]] == []
    return done.returncode, found


def failing(found: Findings) -> set[tuple[str, str]]:
    return {name for name, each in found.items() if each["status"] == "fail"}


def database_of(stack: Stack) -> str:
    link = stack.home / "postgres"
    sockets = link.resolve() / "run" if link.is_symlink() else stack.home / "run"
    return f"postgresql://rdev@/rdev?host={quote(str(sockets), safe='')}"


@contextmanager
def frozen(stack: Stack, part: str) -> Iterator[None]:
    root = psutil.Process(stack.part(part).pid)
    # Postgres's backends are in sessions of their own.
    below = root.children(recursive=True) if part == "postgres" else []
    pids = [*stack.pids(part), *(child.pid for child in below)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_deployment_that_is_well_has_no_complaint(sick: Stack) -> None:
    def well() -> Findings | None:
        code, found = doctor(sick)
        swept = found["outside", "sweep"]["status"] == "ok"  # the first comes after some seconds
        return found if code == 0 and swept else None

    found = wait_for(well)
    assert {each["status"] for each in found.values()} <= {"ok", "warn", "skipped"}
    assert found["outside", "stream"]["status"] == "ok"
    assert found["outside", "key"]["found"].startswith("key-")
    for check in ("postgres", "migrations", "redis", "archive", "sweep", "runner", "pepper"):
        assert found["inside", check]["status"] == "ok", found["inside", check]


def test_a_missing_migration_is_named(sick: Stack) -> None:
    with psycopg.connect(database_of(sick), autocommit=True) as sql:
        (newest,) = sql.execute("select max(version) from schema_migrations").fetchone()
        sql.execute("delete from schema_migrations where version = %s", (newest,))
        try:
            code, found = doctor(sick, "--inside")
        finally:
            sql.execute("insert into schema_migrations (version) values (%s)", (newest,))
    assert code == 1
    assert failing(found) == {("inside", "migrations")}
    assert newest in found["inside", "migrations"]["found"]
    assert found["inside", "queue"]["status"] == "skipped"


def test_a_policy_that_evicts_is_found(sick: Stack) -> None:
    place = quote(str(sick.home / "run" / "valkey.sock"))
    with redis.Redis.from_url(f"unix://{place}?db=0") as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            code, found = doctor(sick, "--inside")
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert (code, failing(found)) == (1, {("inside", "redis memory")})
    assert "allkeys-lru" in found["inside", "redis memory"]["found"]


def test_an_archive_that_cannot_be_written_is_found_from_both_sides(sick: Stack) -> None:
    place, aside = sick.home / "archive", sick.home / "archive.aside"
    place.mkdir(exist_ok=True)
    place.rename(aside)
    place.write_text("no folder")  # what no permission keeps root from
    try:
        code, found = doctor(sick)
    finally:
        place.unlink()
        aside.rename(place)
    assert code == 1
    assert failing(found) == {("inside", "archive"), ("outside", "archive")}


def await_seen(stack: Stack, store: str) -> None:
    """Until `/ready` has looked at it anew: for a second it tells of its last look."""
    wait_for(lambda: stack.admin.get("/ready").data["checks"][store]["status"] != "ok")


def test_a_redis_that_hangs_is_found_and_holds_nothing_up(sick: Stack) -> None:
    with frozen(sick, "valkey"):
        await_seen(sick, "redis")
        code, found = doctor(sick)
    assert code == 1
    assert {("outside", "redis"), ("inside", "redis")} <= failing(found)
    assert found["inside", "redis memory"]["status"] == "skipped"
    assert found["inside", "postgres"]["status"] == "ok"


def test_a_postgres_that_hangs_is_found_and_holds_nothing_up(sick: Stack) -> None:
    with frozen(sick, "postgres"):
        await_seen(sick, "postgres")
        code, found = doctor(sick)
    assert code == 1
    assert {("outside", "postgres"), ("inside", "postgres")} <= failing(found)
    assert found["outside", "health"]["status"] == "ok"
    assert found["inside", "redis"]["status"] == "ok"


def test_nobody_who_sweeps_is_a_failure_once_something_waits(sick: Stack) -> None:
    sweep = ("inside", "sweep")
    with frozen(sick, "runner"):
        with psycopg.connect(database_of(sick)) as sql:
            hours = "now() - interval '3 hours'"
            sql.execute(f"update sweeps set tried_at = {hours}, completed_at = {hours}")
        code, found = doctor(sick, "--inside")
        assert (code, failing(found)) == (1, {("inside", "runner")})
        assert found[sweep]["status"] == "warn"
        assert "10800 s ago" in found[sweep]["found"] or "1080" in found[sweep]["found"]
        command = sick.admin.shell("demo", "true")["id"]
        code, found = doctor(sick)
        assert {sweep, ("inside", "runner")} <= failing(found)
        assert found["outside", "sweep"]["status"] == "warn"
    wait_for(lambda: sick.admin.get(f"/projects/demo/commands/{command}").data["finished_at"])


def test_a_proxy_that_buffers_streams_is_found(sick: Stack) -> None:
    with buffering(sick.port) as url:
        code, found = doctor(sick, "--outside", "--server", url)
    assert (code, failing(found)) == (1, {("outside", "stream")})
    assert "proxy_buffering" in found["outside", "stream"]["todo"]


def test_a_clock_that_is_off_is_found_from_outside(sick: Stack) -> None:
    with buffering(sick.port, date=ANCIENT) as url:
        _, found = doctor(sick, "--outside", "--server", url)
    assert ("outside", "clock") in failing(found)
    assert "behind" in found["outside", "clock"]["found"]


def test_a_key_that_is_not_good_is_found(sick: Stack) -> None:
    made = sick.admin.post("/keys", {"name": "gone", "scopes": ["projects:read"]}).data
    sick.admin.delete(f"/keys/{made['id']}")
    key = sick.home.parent / "revoked.key"
    key.write_text(made["key"])
    code, found = doctor(sick, "--outside", "--key-file", str(key))
    assert code in (0, 1)
    argv = [sys.executable, "-m", "rdev.cli.main", "doctor", "--outside", "--json"]
    argv += ["--server", sick.base_url, "--key-file", str(key)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 1
    found = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    assert (found["key"]["status"], found["queue"]["status"]) == ("fail", "skipped")
    assert made["key"] not in done.stdout + done.stderr


def test_the_folder_that_is_named_has_the_server_and_its_key(sick: Stack, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "rdev.cli.main", "doctor", "--outside", "--json"]
    env = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [*argv, "--home", str(sick.home)],
        env=env | {"HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    found = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    assert (found["key"]["status"], found["health"]["status"]) == ("ok", "ok")


def test_a_server_that_is_not_there_is_one_failure(sick: Stack) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    code, found = doctor(sick, "--outside", "--server", url)
    assert (code, failing(found)) == (1, {("outside", "health")})
    assert found["outside", "key"]["status"] == "skipped"


def test_settings_that_are_not_usable_show_no_value(sick: Stack, tmp_path: Path) -> None:
    password = "hunter2-hunter2"
    code, found = doctor(
        sick,
        "--inside",
        RDEV_DATABASE_URL=f"postgresql://rdev:{password}@127.0.0.1:{free_port()}/rdev",
        RDEV_REDIS_URL=f"redis://:{password}@127.0.0.1:{free_port()}/0",
        RDEV_PEPPER="too short",
        RDEV_ARCHIVE_URL=str(tmp_path / "archive"),
    )
    assert code == 1
    assert failing(found) == {("inside", "pepper"), ("inside", "postgres"), ("inside", "redis")}
    assert password not in json.dumps(list(found.values()))
    code, found = doctor(sick, "--inside", RDEV_DATABASE_URL="postgresql://x", RDEV_LEASE_S="never")
    assert failing(found) == {("inside", "settings")}
    assert "RDEV_LEASE_S" in found["inside", "settings"]["found"]
    assert "never" not in found["inside", "settings"]["found"]


def test_people_get_a_line_for_each_check(sick: Stack) -> None:
    key = sick.home.parent / "doctor.key"
    key.write_text(sick.admin_key)
    argv = [sys.executable, "-m", "rdev.cli.main", "doctor", "--outside"]
    argv += ["--server", sick.base_url, "--key-file", str(key)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout
    assert ("outside\thealth\tok\t") in done.stdout
