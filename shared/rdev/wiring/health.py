"""Whether what rdev needs answers."""

from rdev.config import settings
from rdev.errors import RdevError
from rdev.wiring.stores import database

_READY_S = 1.0


def readiness() -> dict[str, dict[str, str]]:
    """By dependency: whether it answers, each asked for a second at most."""
    checks: dict[str, dict[str, str]] = {}
    asked = [("postgres", _ask_postgres), ("redis", _ask_redis)]
    if settings().workspaces == "kubernetes":
        asked.append(("kubernetes", _ask_kubernetes))
    for name, ask in asked:
        try:
            ask()
            checks[name] = {"status": "ok"}
        except RdevError as exc:
            checks[name] = {"status": "unavailable", "reason": exc.message}
    return checks


def _ask_postgres() -> None:
    database().ping(_READY_S)


def _ask_kubernetes() -> None:
    from rdev.wiring.stores import kubernetes_api

    kubernetes_api().ping(_READY_S)


def _ask_redis() -> None:
    from rdev.adapters.redis.connect import connect, translated

    with (
        translated(),
        connect(
            settings().redis_url.get_secret_value(), timeout_s=_READY_S, max_connections=1
        ) as client,
    ):
        client.ping()
