"""One chaos run: a load, faults at random while it lasts, and then the truth."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from chaos.checks import Verdict, check, check_pods_are_left, settle
from chaos.client import Case, Client, any_case
from chaos.cluster import LEASE_S, PEPPER, Cluster, cluster
from chaos.faults import DISK_FULL, FAIL_POINTS, Faults
from chaos.pod_faults import PodFaults
from chaos.pods import any_pod_case, pod_cluster
from key_service import first_caller, key_service
from rdev.adapters.postgres.database import Database
from rdev.services.keys import Grant

_AT_ONCE = 24
_KEYS = 4


@dataclass
class Outcome:
    in_pods: bool
    seed: int
    commands: int
    faults: Counter[str]
    left_out: list[str]
    """Kinds of faults that this machine does not permit."""
    wipes: int
    statuses: Counter[str]
    repeated_requests: Counter[int]
    reconnects: int
    took_s: float
    verdict: Verdict


def run(
    *, commands: int, faults: int, seed: int, unsafe: str = "", workspaces: str = "local"
) -> Outcome:
    """`workspaces` as in rdev.config."""
    if workspaces == "kubernetes":
        with pod_cluster(seed=seed, fail_points=FAIL_POINTS, unsafe=unsafe) as pods:
            outcome = _run(pods, PodFaults(pods, seed), any_pod_case, commands, faults, seed)
            check_pods_are_left(pods, outcome.verdict)
            return outcome
    with cluster(fail_points=FAIL_POINTS, unsafe=unsafe) as parts:
        return _run(parts, Faults(parts, seed), any_case, commands, faults, seed)


def _run(
    parts: Cluster,
    injected: Faults,
    any_: Callable[..., Case],
    commands: int,
    faults: int,
    seed: int,
) -> Outcome:
    random_ = random.Random(seed)
    begun = time.monotonic()
    keys = prepare(parts)
    client = Client(parts.port)
    cases = [any_(number, random_, keys) for number in range(commands)]
    _load_under_faults(parts, client, cases, injected, faults, random_)
    verdict = Verdict()
    settle(parts, verdict)
    for case in cases:
        if case.command_id:
            case.fetched_later = client.fetch(case)
    full = bool(injected.by_kind[DISK_FULL])
    check(parts, cases, injected.wipes, verdict, disk_was_full=full)
    return Outcome(
        in_pods=isinstance(injected, PodFaults),
        seed=seed,
        commands=len(cases),
        faults=injected.by_kind,
        left_out=injected.left_out,
        wipes=len(injected.wipes),
        statuses=Counter(str(case.record.get("status")) for case in cases),
        repeated_requests=client.unanswered,
        reconnects=sum(max(0, case.book.connections - 1) for case in cases if case.book),
        took_s=time.monotonic() - begun,
        verdict=verdict,
    )


def prepare(parts: Cluster) -> list[str]:
    """Start rdev, with a project to load and the secrets of some keys."""
    database = Database(parts.postgres.url(), pool_size=2, timeout_s=30)
    try:
        keys = key_service(database, pepper=PEPPER)
        by = first_caller(keys, database)
        secrets = [
            keys.create(by, Grant(f"load {n}", ("admin",), rate_limit=100_000, max_concurrent=6))[1]
            for n in range(_KEYS)
        ]
    finally:
        database.close()
    parts.start_rdev()
    parts.prepare_projects(Client(parts.port), secrets[0])
    return secrets


def _load_under_faults(
    parts: Cluster,
    client: Client,
    cases: list[Case],
    injected: Faults,
    faults: int,
    random_: random.Random,
) -> None:
    """Both advance at the same pace, so that faults meet commands from the first to the last."""
    places = threading.Semaphore(_AT_ONCE)
    running: list[threading.Thread] = []

    submitted = 0
    while submitted < len(cases) or injected.count < faults:
        while submitted < len(cases) and submitted * faults <= injected.count * len(cases):
            wanted = (cases[submitted], parts.workspaces, places)
            running.append(threading.Thread(target=client.see_through, args=wanted))
            running[-1].start()
            submitted += 1
        if injected.count < faults:
            injected.inject()
        time.sleep(random_.uniform(*injected.pause_s))
    injected.settle()
    parts.restart_quietly()
    client.calm.set()
    for thread in running:
        thread.join()
    time.sleep(LEASE_S)
