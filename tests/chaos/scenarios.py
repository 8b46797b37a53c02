"""Single faults at a chosen point: what random ones hit only now and then."""

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from chaos.checks import SETTLE_S, Verdict, check, settle
from chaos.client import PROJECT, Case, Client
from chaos.cluster import RUNNERS, Cluster, cluster
from chaos.load import Work
from chaos.run import prepare

_ENOUGH_S = 120.0


class Scene:
    """A cluster with one command at a time."""

    def __init__(self, parts: Cluster) -> None:
        self.parts = parts
        self.key = prepare(parts)[0]
        self.client = Client(parts.port)
        self.client.calm.set()
        self.cases: list[Case] = []
        self._threads: list[threading.Thread] = []

    def submit(self, work: Work, **more: Any) -> Case:
        case = Case(f"case-{len(self.cases)}", work, self.key, "normal", **more)
        self.cases.append(case)
        wanted = (case, self.parts.workspaces, threading.Semaphore())
        self._threads.append(threading.Thread(target=self.client.see_through, args=wanted))
        self._threads[-1].start()
        return case

    def record(self, case: Case) -> dict[str, Any]:
        if not case.command_id:
            return {}
        path = f"/projects/{PROJECT}/commands/{case.command_id}"
        status, answer = self.client.call("GET", path, self.key)
        return json.loads(answer)["data"] if status == 200 else {}

    def runner_of(self, case: Case) -> str:
        """Which runner holds it."""
        import psycopg

        with psycopg.connect(self.parts.postgres.url()) as sql:
            row = sql.execute(
                "select runner from commands where id = %s", (case.command_id,)
            ).fetchone()
        assert row is not None
        pid = int(row[0].split(":")[-2])
        group = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[2])
        for name in RUNNERS:
            process = self.parts.parts[name].process
            if process is not None and process.pid == group:
                return name
        raise AssertionError(f"{row[0]} is none of ours")

    def await_(self, condition: Callable[[], Any]) -> Any:
        until = time.monotonic() + _ENOUGH_S
        while not (found := condition()):
            assert time.monotonic() < until, "waited in vain"
            time.sleep(0.05)
        return found

    def verdict(self, settle_s: float = SETTLE_S) -> Verdict:
        for thread in self._threads:
            thread.join()
        verdict = Verdict()
        settle(self.parts, verdict, settle_s)
        for case in self.cases:
            case.fetched_later = self.client.fetch(case)
        check(self.parts, self.cases, [], verdict)
        return verdict


def killed_right_after_the_start(unsafe: str = "") -> Verdict:
    """The runner dies between having the command started and recording that, again and again."""
    points = dict.fromkeys(RUNNERS, "start.after=0.7")
    with cluster(fail_points=points, unsafe=unsafe) as parts:
        scene = Scene(parts)
        while not parts.failures():  # three of ten get past the fail point
            case = scene.submit(Work(seed=1, stdout=1000, seconds=6.0))
            scene.await_(lambda case=case: parts.failures() or scene.record(case).get("started_at"))
        scene.await_(lambda: scene.record(case).get("started_at"))
        parts.restart_quietly()
        return scene.verdict()


def paused_while_another_takes_over(unsafe: str = "") -> Verdict:
    """A runner is frozen beyond its lease, in the middle of a stream, and wakes up late."""
    with cluster(unsafe=unsafe, settings={"archive_url": ""}) as parts:
        scene = Scene(parts)
        case = scene.submit(Work(seed=2, stdout=400_000, stderr=40_000, seconds=14.0))
        scene.await_(lambda: scene.record(case).get("started_at"))
        first = scene.runner_of(case)
        parts.parts[first].signal(signal.SIGSTOP)
        scene.await_(lambda: _taken_over(scene, case))
        time.sleep(1.0)  # the other one has read on for a while
        parts.parts[first].signal(signal.SIGCONT)
        return scene.verdict()


def asleep_with_a_requeue_in_hand(unsafe: str = "") -> Verdict:
    """A runner did not find the workspace, and freezes right before it puts the command back into
    the queue. Another one takes over, finds the workspace and starts the command; it freezes
    before it can record that. Then the first one wakes up, and somebody cancels."""
    sleepy, other = RUNNERS
    points = {sleepy: "stop:requeue.before", other: "stop:start.after"}
    with cluster(fail_points=points, unsafe=unsafe) as parts:
        scene = Scene(parts)
        parts.parts[other].signal(signal.SIGSTOP)
        folder = parts.workspaces / PROJECT
        away = folder.with_name("away")
        folder.rename(away)
        case = scene.submit(Work(seed=4, stdout=1000, ends="never"))
        scene.await_(lambda: len(parts.failures()) == 1)
        away.rename(folder)
        parts.parts[other].signal(signal.SIGCONT)
        scene.await_(lambda: len(parts.failures()) == 2)
        scene.await_(parts.counter.read_text)
        parts.parts[sleepy].signal(signal.SIGCONT)
        # Either it puts the command back at once, or in time it takes it over.
        scene.await_(lambda: (record := scene.record(case)) and _no_longer_just_claimed(record))
        case.cancel_after_s = 0.0
        scene.client.insist(
            "POST", f"/projects/{PROJECT}/commands/{case.command_id}/cancel", case.key
        )
        parts.parts[other].signal(signal.SIGCONT)
        return scene.verdict(settle_s=5.0 if unsafe else SETTLE_S)


def _no_longer_just_claimed(record: dict[str, Any]) -> bool:
    return bool(record["status"] == "queued" or record["started_at"])


def asleep_until_its_command_is_archived() -> tuple[Verdict, list[str]]:
    """A runner freezes right before an append, until another one has archived the command and Redis
    has forgotten it. Also what of its stream is in Redis afterwards."""
    sleepy, other = RUNNERS
    points = {sleepy: "stop:append.before"}
    with cluster(fail_points=points, settings={"stream_keep_s": 1}) as parts:
        scene = Scene(parts)
        parts.parts[other].signal(signal.SIGSTOP)
        case = scene.submit(Work(seed=3, stdout=400_000, stderr=40_000, seconds=2.0))
        scene.await_(parts.failures)
        parts.parts[other].signal(signal.SIGCONT)
        scene.await_(lambda: scene.record(case).get("finished_at"))
        key = f"rdev:{{{PROJECT}}}:{case.command_id}"
        with redis.Redis.from_url(parts.valkey.url) as client:
            scene.await_(lambda: not client.exists(key))
            parts.parts[sleepy].signal(signal.SIGCONT)
            time.sleep(3.0)  # nothing tells that it does nothing
            left = [key] if client.exists(key) else []
        return scene.verdict(), left


def _taken_over(scene: Scene, case: Case) -> bool:
    import psycopg

    with psycopg.connect(scene.parts.postgres.url()) as sql:
        row = sql.execute(
            "select epoch >= 2 from commands where id = %s", (case.command_id,)
        ).fetchone()
    return bool(row and row[0])
