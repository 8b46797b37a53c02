"""Two versions of rdev side by side, the former and the present one, on the present one's schema:
nothing is lost, doubled or untrue, in either direction."""

import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
from former import unpack

from chaos.checks import Verdict, check, settle
from chaos.client import Case, Client, any_case
from chaos.cluster import LEASE_S, RUNNERS, Cluster, cluster
from chaos.load import Work
from chaos.run import prepare
from chaos.scenarios import Scene
from rdev.config import SOURCE_ROOT
from rdev.platform.stores import Postgres, migrate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

COMMANDS = 60
STAGES = (
    "claim.after",  # claimed; nobody has asked the workspace for anything
    "start.after",  # prepared, and perhaps started; nobody has seen it run
    "start.announced",  # started; the row does not say so
    "append.after",  # it writes; the stream is ahead of what the dead one knew
    "stop.before",  # about to be ended
    "finish.before",  # ended; the row is not closed
    "announce.before",  # closed; the stream has no end
    "closing.noted",  # seen off; not archived
    "archive.concluded",  # archived; the row does not say so
)


@pytest.fixture
def former() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="rdev-former-", dir="/tmp"))
    yield unpack(folder)
    shutil.rmtree(folder)


def test_a_rolling_replacement_and_its_reversal_under_load_lose_nothing(former: Path) -> None:
    random_ = random.Random(20261124)
    with cluster() as parts:
        everything = ("functions", *RUNNERS)
        parts.sources = dict.fromkeys(everything, former)
        keys = prepare(parts)
        client = Client(parts.port)
        cases = [any_case(number, random_, keys) for number in range(COMMANDS)]
        places = threading.Semaphore(12)
        load = [
            threading.Thread(target=client.see_through, args=(case, parts.workspaces, places))
            for case in cases
        ]
        for thread in load:
            thread.start()
        # One after the other to the present version, each of the other kind beside it; one back.
        for name, present in (
            (RUNNERS[0], True),
            ("functions", True),
            (RUNNERS[1], True),
            (RUNNERS[0], False),
            ("functions", False),
        ):
            time.sleep(2.0)
            _replace(parts, name, None if present else former)
        client.calm.set()
        for thread in load:
            thread.join()
        time.sleep(LEASE_S)
        verdict = Verdict()
        settle(parts, verdict)
        for case in cases:
            case.fetched_later = client.fetch(case)
        check(parts, cases, [], verdict)
        assert verdict.problems == {}
        assert verdict.bytes_compared > 0


def _reached_or_over(scene: Scene, case: Case, stage: str, before: int) -> bool:
    reached = scene.parts.failures().count(stage) > before
    return reached or bool(scene.record(case).get("finished_at"))


@pytest.mark.parametrize("forwards", [True, False], ids=["upgrade", "rollback"])
def test_what_one_version_began_the_other_sees_through_from_every_stage(
    former: Path, *, forwards: bool
) -> None:
    first, second = (former, None) if forwards else (None, former)
    with cluster() as parts:
        scene = Scene(parts)
        for seed, stage in enumerate(STAGES):
            parts.fail_points = dict.fromkeys(RUNNERS, stage)
            for name in RUNNERS:
                _replace(parts, name, first, signal.SIGKILL)
            before = parts.failures().count(stage)
            cancelled = stage == "stop.before"
            work = Work(
                seed, stdout=40_000, stderr=400, seconds=2.0, exit_code=3,
                ends="cancel" if cancelled else "itself",
            )  # fmt: skip
            while parts.failures().count(stage) == before:
                # Again where it was over before: on a busy machine it is cancelled while it waits.
                case = scene.submit(work, cancel_after_s=1.0 if cancelled else None)
                scene.await_(partial(_reached_or_over, scene, case, stage, before))
            parts.fail_points = {}
            for name in RUNNERS:
                _replace(parts, name, second, signal.SIGKILL)
            scene.await_(lambda: scene.record(case).get("finished_at"))  # noqa: B023 - now
        assert scene.verdict().problems == {}


def test_migrations_only_add(postgres: Postgres, former: Path) -> None:
    url = postgres.url("test_migrations_only_add")
    migrate(url, former / "migrations")
    before = _columns(url)
    migrate(url, SOURCE_ROOT / "migrations")
    after = _columns(url)
    for column, (type_, _) in before.items():
        assert column in after, f"{column} is gone, and the former version uses it"
        assert after[column][0] == type_, f"{column} changed its type"
    tables = {table for table, _ in before}
    for column in after.keys() - before.keys():
        if column[0] in tables:
            assert after[column][1], f"{column} must be null or have a default: who inserts?"
    for column in before:
        assert after[column][1] or not before[column][1], f"{column} must be given now"


def test_migrations_that_were_released_stay_as_they_were(former: Path) -> None:
    for file in (former / "migrations").iterdir():
        assert (SOURCE_ROOT / "migrations" / file.name).read_text() == file.read_text(), file.name


def _columns(url: str) -> dict[tuple[str, str], tuple[str, bool]]:
    """(table, column) -> its type, and whether an insert may leave it out."""
    with psycopg.connect(url) as sql:
        rows = sql.execute(
            "select table_name, column_name, data_type, is_nullable = 'YES' "
            "or column_default is not null or is_identity = 'YES' or is_generated = 'ALWAYS' "
            "from information_schema.columns where table_schema = 'public'"
        ).fetchall()
    return {(table, column): (type_, spared) for table, column, type_, spared in rows}


def _replace(
    parts: Cluster, name: str, source: Path | None, how: signal.Signals = signal.SIGTERM
) -> None:
    """Have a part end and come back as that version; None: this one."""
    part = parts.parts[name]
    with part.lock:
        if source is None:
            parts.sources.pop(name, None)
        else:
            parts.sources[name] = source
        old = part.process
        part.signal(how)
    assert old is not None
    deadline = time.monotonic() + 60
    while part.process is old:
        assert time.monotonic() < deadline, f"{name} did not come back"
        time.sleep(0.05)
