"""Single faults at a chosen point: what random ones hit only now and then."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import redis

from chaos.checks import SETTLE_S, Verdict, check, settle
from chaos.client import PROJECT, Case, Client
from chaos.cluster import RUNNERS, Cluster, cluster
from chaos.load import Work
from chaos.run import prepare
from rdev.domain.commands import Position
from rdev.domain.events import EntryId, position_of

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
        self._gate = parts.folder / "gate"

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

    def work(self, **more: Any) -> Work:
        """What waits at a gate, half-way, for `open_gate`."""
        return Work(seconds=0.4, gate=str(self._gate), **more)

    def open_gate(self) -> None:
        self._gate.touch()

    def position(self, case: Case) -> Position:
        """How many bytes its stream in Redis holds."""
        with redis.Redis.from_url(self.parts.valkey.url) as client:
            entries = client.xrevrange(stream_of(case), count=1)
        return position_of(EntryId.of(entries[0][0])) if entries else Position()

    def cancel(self, case: Case) -> None:
        self.await_(lambda: case.command_id)
        case.cancel_after_s = 0.0
        self.client.insist(
            "POST", f"/projects/{PROJECT}/commands/{case.command_id}/cancel", case.key
        )

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
    """The runner dies between having the command started and recording that; another one takes
    over while the command runs."""
    sleepy, other = RUNNERS
    with cluster(fail_points={sleepy: "stop:start.after"}, unsafe=unsafe) as parts:
        scene = Scene(parts)
        parts.parts[other].freeze()
        case = scene.submit(scene.work(seed=1, stdout=1000))
        scene.await_(lambda: parts.asleep_at("start.after"))
        scene.await_(parts.counter.read_text)
        parts.fail_points = {}
        parts.parts[sleepy].kill()
        parts.parts[other].thaw()
        scene.await_(lambda: scene.record(case).get("started_at"))
        scene.open_gate()
        return scene.verdict()


def paused_while_another_takes_over(unsafe: str = "") -> Verdict:
    """A runner freezes with output in its hands, and wakes up when another one has carried it."""
    sleepy, other = RUNNERS
    points = {sleepy: "stop:append.before,stop:append.after"}
    with cluster(fail_points=points, unsafe=unsafe, settings={"archive_url": ""}) as parts:
        scene = Scene(parts)
        parts.parts[other].freeze()
        case = scene.submit(scene.work(seed=2, stdout=400_000, stderr=40_000))
        scene.await_(lambda: parts.asleep_at("append.before"))
        parts.parts[other].thaw()
        half = Position(200_000, 20_000)
        scene.await_(lambda: scene.position(case) == half)
        parts.parts[sleepy].thaw()
        scene.await_(lambda: parts.asleep_at("append.after"))
        parts.parts[sleepy].thaw()
        scene.open_gate()
        return scene.verdict()


def asleep_with_a_requeue_in_hand(unsafe: str = "") -> Verdict:
    """A runner did not find the workspace, and freezes right before it puts the command back into
    the queue. Another one takes over, finds the workspace and starts the command; it freezes
    before it can record that. Then the first one wakes up, and somebody cancels."""
    sleepy, other = RUNNERS
    points = {sleepy: "stop:requeue.before,stop:requeue.after", other: "stop:start.after"}
    # The other's lease lasts: else the first might take over before it puts the command back. And
    # it must not freeze while it renews, holding the row.
    leases = {other: {"lease_s": 200, "renew_s": 60}}
    with cluster(fail_points=points, unsafe=unsafe, settings_of=leases) as parts:
        scene = Scene(parts)
        parts.parts[other].freeze()
        folder = parts.workspaces / PROJECT
        away = folder.with_name("away")
        folder.rename(away)
        case = scene.submit(Work(seed=4, stdout=1000, ends="never"))
        scene.await_(lambda: parts.asleep_at("requeue.before"))
        away.rename(folder)
        parts.parts[other].thaw()
        scene.await_(lambda: parts.asleep_at("start.after"))
        scene.await_(parts.counter.read_text)
        parts.parts[sleepy].thaw()
        scene.await_(lambda: parts.asleep_at("requeue.after"))
        scene.cancel(case)
        for name in RUNNERS:
            parts.parts[name].thaw()
        return scene.verdict(settle_s=5.0 if unsafe else SETTLE_S)


def asleep_until_its_command_is_archived() -> tuple[Verdict, list[str]]:
    """A runner freezes right before an append, until another one has archived the command and Redis
    has forgotten it. Also what of its stream is in Redis afterwards."""
    sleepy, other = RUNNERS
    points = {sleepy: "stop:append.before"}
    with cluster(fail_points=points, settings={"stream_keep_s": 1}) as parts:
        scene = Scene(parts)
        parts.parts[other].freeze()
        case = scene.submit(Work(seed=3, stdout=400_000, stderr=40_000, seconds=2.0))
        scene.await_(lambda: parts.asleep_at("append.before"))
        parts.parts[other].thaw()
        scene.await_(lambda: scene.record(case).get("finished_at"))
        with redis.Redis.from_url(parts.valkey.url) as client:
            scene.await_(lambda: not client.exists(stream_of(case)))
            parts.parts[sleepy].thaw()
            time.sleep(3.0)  # nothing tells that it does nothing
            left = [stream_of(case)] if client.exists(stream_of(case)) else []
        return scene.verdict(), left


def stream_of(case: Case) -> str:
    """The key of its stream in Redis."""
    return f"rdev:{{{PROJECT}}}:{case.command_id}"
