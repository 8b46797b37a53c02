"""What must be true after a chaos run, whatever was done in it."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
import redis

from chaos.client import FINAL, Case
from chaos.cluster import Cluster, Killed
from chaos.load import NO_SPACE
from chaos.pods import PodCluster

SETTLE_S = 90.0


@dataclass
class Verdict:
    """Each problem in words, by what is wrong; empty is good."""

    problems: dict[str, list[str]] = field(default_factory=dict)
    bytes_compared: int = 0
    not_kept: int = 0
    """Commands whose output was in Redis alone when Redis lost its data: they had ended, and no
    archive is kept."""
    met_full_disk: int = 0
    """Commands that could not write all they wanted to."""
    never_started: int = 0
    """Commands that could not be put into the full workspace, again and again."""
    truly_lost: int = 0
    """Commands whose processes a fault killed, and that are said to be lost."""

    def note(self, what: str, which: str) -> None:
        self.problems.setdefault(what, []).append(which)

    @property
    def good(self) -> bool:
        return not self.problems


def check(
    cluster: Cluster,
    cases: list[Case],
    wipes: list[float],
    verdict: Verdict,
    *,
    disk_was_full: bool = False,
) -> None:
    """All but `settle`'s."""
    archived = (cluster.folder / "archive").exists()
    starts, killed = cluster.starts(), cluster.killed()
    for case in cases:
        if case.problem:
            verdict.note("problem of the client", f"{case.tag}: {case.problem}")
            continue
        kept = archived or not any(wipe >= _ended(case) - 1 for wipe in wipes)
        verdict.not_kept += not kept
        excused = disk_was_full and _met_full_disk(case, starts[case.tag], verdict)
        if (end := killed.get(case.command_id)) is not None:
            excused = True
            _check_killed(case, end, starts[case.tag], verdict)
        _check_end(case, verdict, excused=excused, killed=end is not None)
        _check_starts(case, starts[case.tag], verdict, excused=excused)
        _check_bytes(case, verdict, excused=excused)
        if kept:
            _check_kept(case, verdict)
    _check_rows(cluster, cases, verdict)


def settle(cluster: Cluster, verdict: Verdict, within_s: float = SETTLE_S) -> None:
    """Wait for the sweeps to have done their work; what is left then is a left-over."""
    for what, look in {
        "row not ended": lambda: _rows(cluster, "status in ('queued', 'running')"),
        "record not seen off": lambda: _rows(cluster, "not announced"),
        "process left": cluster.processes_left,
        "command directory left": cluster.directories_left,
        "ticket left": lambda: _tickets(cluster),
    }.items():
        for which in _until_none(look, within_s):
            verdict.note(what, which)


def check_pods_are_left(cluster: PodCluster, verdict: Verdict) -> None:
    """That nothing but the pod itself is in any pod once nobody is connected. Ends rdev."""
    cluster.end_rdev()
    for which in _until_none(cluster.agents_left, SETTLE_S):
        verdict.note("process left in a pod", which)


def _met_full_disk(case: Case, starts: int, verdict: Verdict) -> bool:
    """Whether it says that it could not write, or nobody could start it: both are true ends."""
    record = case.record
    if record.get("status") != "failed":
        return False
    met = record["exit_code"] == NO_SPACE
    never = record["reason"] == "infrastructure" and starts == 0 and record["started_at"] is None
    verdict.met_full_disk += met
    verdict.never_started += never
    return met or never


def _check_killed(case: Case, end: Killed, starts: int, verdict: Verdict) -> None:
    """A command whose processes a fault killed is lost, with the reason; unless it was to be ended
    anyway, or had not become itself yet. What it had written is there to the byte."""
    record = case.record
    status, reason = record.get("status"), record.get("reason")
    said = f"{case.tag} {case.command_id}: {status} {record.get('exit_code')} {reason}"
    stopped = {"cancelled"} if case.cancel_after_s is not None else set()
    stopped |= {"timed_out"} if case.timeout_s is not None else set()
    if status == "lost":
        verdict.truly_lost += 1
        if not reason or not record.get("reason_message"):
            verdict.note("lost without a reason", f"{said}: {record.get('reason_message')}")
    elif (status, reason, starts) != ("failed", "infrastructure", 0) and status not in stopped:
        verdict.note("killed, and not said to be lost", f"{said}, in {end.pod}")
    for stream, size in (("stdout", end.stdout), ("stderr", end.stderr)):
        if record["output"][f"{stream}_bytes"] != size:
            there = f"{said} {stream}: {record['output'][f'{stream}_bytes']} of {size}"
            verdict.note("bytes missing in the record", there)


def _check_end(case: Case, verdict: Verdict, *, excused: bool, killed: bool) -> None:
    record, work = case.record, case.work
    status = record.get("status")
    said = (
        f"{case.tag} {case.command_id}: {status} {record.get('exit_code')} {record.get('reason')}"
    )
    if status not in FINAL:
        verdict.note("no end", said)
    elif status == "lost" and not killed:
        verdict.note("lost", said)
    elif excused:
        pass
    elif case.cancel_after_s is not None:
        if status != "cancelled":
            verdict.note("untrue end", said)
    elif case.timeout_s is not None:
        if status != "timed_out":
            verdict.note("untrue end", said)
    elif (status, record["exit_code"]) != (
        "failed" if work.exit_code else "succeeded",
        work.exit_code,
    ):
        verdict.note("untrue end", said)
    book = case.book
    if (
        book is not None
        and book.finished
        and (book.finished["status"], book.finished["exit_code"]) != (status, record["exit_code"])
    ):
        verdict.note("event and record differ", said)


def _check_starts(case: Case, starts: int, verdict: Verdict, *, excused: bool) -> None:
    stopped = case.cancel_after_s is not None or case.timeout_s is not None
    if starts > 1:
        verdict.note("started twice", f"{case.tag} {case.command_id}: {starts} times")
    elif starts == 1 and case.record.get("started_at") is None:
        verdict.note("ran, and the record says it did not", f"{case.tag} {case.command_id}")
    elif starts == 0 and not (
        stopped or excused
    ):  # one that is stopped may not get to its first line
        verdict.note("did not run", f"{case.tag} {case.command_id}")


def _check_bytes(case: Case, verdict: Verdict, *, excused: bool) -> None:
    book = case.book
    if book is None or case.record.get("status") not in FINAL:
        return
    output = case.record["output"]
    if book.gaps:
        verdict.note("gap announced", f"{case.tag} {case.command_id}: {book.gaps}")
    if book.wrong:
        verdict.note("bytes doubled, missing or out of order", f"{case.tag}: {book.wrong[:3]}")
    for stream, whole in case.written().items():
        size = output[f"{stream}_bytes"]
        verdict.bytes_compared += size
        said = f"{case.tag} {case.command_id} {stream}: {size} of {len(whole)} bytes"
        if size > len(whole) or (case.work.ends == "itself" and size < len(whole) and not excused):
            verdict.note("bytes missing in the record", said)
        right = hashlib.sha256(whole[:size]).hexdigest()
        if output["sha256"][stream] not in (right, None if size == 0 else right):
            verdict.note("hash in the record is wrong", said)
        if not book.gaps and book.finished and book.hashes[stream].hexdigest() != right:
            verdict.note("a reader's bytes are wrong", f"{said}, {book.sizes[stream]} seen")


def _check_kept(case: Case, verdict: Verdict) -> None:
    """What can still be had after the end."""
    said = f"{case.tag} {case.command_id}"
    if case.book is None or case.book.finished is None:
        seen = case.book and (case.book.sizes, case.book.connections, case.book.last_answer)
        verdict.note("reader saw no end", f"{said}: {seen} of {case.record.get('output')}")
    for stream, recorded in case.record.get("output", {}).get("sha256", {}).items():
        right = recorded or hashlib.sha256().hexdigest()
        if case.fetched.get(stream) != right:
            verdict.note("GET output is wrong", f"{said} {stream}: {case.fetched.get(stream)}")
        if case.fetched_later.get(stream) != right:
            verdict.note("GET output later is wrong", f"{said} {stream}: {case.fetched_later}")


def _ended(case: Case) -> float:
    text = case.record.get("finished_at")
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def _check_rows(cluster: Cluster, cases: list[Case], verdict: Verdict) -> None:
    """Nothing was queued twice for one Idempotency-Key."""
    known = {case.command_id for case in cases}
    for command_id in _rows(cluster, "true"):
        if command_id not in known:
            verdict.note("a command that nobody knows", command_id)


def _until_none(look: Callable[[], list[str]], within_s: float) -> list[str]:
    deadline = time.monotonic() + within_s
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def _rows(cluster: Cluster, where: str) -> list[str]:
    with psycopg.connect(cluster.postgres.url()) as connection:
        rows = connection.execute(f"select id from commands where {where}").fetchall()  # type: ignore[arg-type]
    return [row[0] for row in rows]


def _tickets(cluster: Cluster) -> list[str]:
    with redis.Redis.from_url(cluster.valkey.url) as client:
        names = [f"rdev:{{queue}}:{priority}" for priority in ("high", "normal", "low")]
        return [name for name in names if client.exists(name) and client.xlen(name)]
