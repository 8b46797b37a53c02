"""What each function needs of the world, and whether it answers."""

import threading
from functools import lru_cache

from rdev.config import settings
from rdev.errors import Unavailable
from rdev.services.readiness import LOOK_S, Dependency, Look, readiness
from rdev.wiring.stores import archive, database, kubernetes_api

_building = threading.Lock()
_ASKS_KUBERNETES = ("projects", "runner", "system")
_ASKS_THE_ARCHIVE = ("exec", "events", "runner", "system")


def ready(function: str) -> tuple[str, dict[str, dict[str, str]]]:
    """Whether what this function needs answers, in all and each. `system` speaks for the whole
    deployment."""
    with _building:
        dependencies = _dependencies(function)
    return readiness(dependencies)


@lru_cache
def _dependencies(function: str) -> dict[str, Dependency]:
    needs = {"postgres": _postgres(), "redis": _redis()}
    if settings().workspaces == "kubernetes" and function in _ASKS_KUBERNETES:
        needs["kubernetes"] = _kubernetes()
    if function in _ASKS_THE_ARCHIVE:
        needs["archive"] = _archive()
    if function == "system":
        needs["sweep"] = Dependency(Look(_sweep), needed=False)
    return needs


# One look a process, however many functions it serves.
@lru_cache
def _postgres() -> Dependency:
    return Dependency(Look(lambda: database().ping(LOOK_S)))


@lru_cache
def _redis() -> Dependency:
    return Dependency(Look(_ask_redis))


@lru_cache
def _kubernetes() -> Dependency:
    return Dependency(
        Look(lambda: kubernetes_api().ping(LOOK_S)), breaker=lambda: kubernetes_api().breaker
    )


@lru_cache
def _archive() -> Dependency:
    """Commands run without it; only old output cannot be had."""
    return Dependency(
        Look(lambda: archive().ping()), needed=False, breaker=lambda: archive().breaker.state
    )


def _ask_redis() -> None:
    """By a connection of its own, so that a pool in full use does not look like a dead Redis."""
    from rdev.adapters.redis.connect import connect, translated

    url = settings().redis_url.get_secret_value()
    with translated(), connect(url, timeout_s=LOOK_S, max_connections=1) as client:
        client.ping()


def _sweep() -> None:
    with database().transaction(reading=True) as tx:
        last = tx.queue.last_sweep()
    if last is None:
        raise Unavailable("Nobody has swept yet. Is there a runner, and does its schedule wake it?")
    if last.late:
        ago = "never" if last.completed_s is None else f"{last.completed_s:.0f} s ago"
        why = last.problem or "Is there a runner, and does its schedule wake it?"
        raise Unavailable(f"The last whole sweep was {ago}. {why}")
