"""The same system in the shape of compose.yaml, without Docker: each function alone, the runner
resident, the gateway in front. Some of the end-to-end tests are run against its address, as
compose.e2e.yaml runs all that can be."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fresh_database import fresh_database
from functions_alone import functions_alone
from gateway import gateway
from rdev.config import SOURCE_ROOT
from rdev.http.routes import FUNCTIONS
from rdev.platform.stores import Postgres, Valkey
from target import Target

pytestmark = [pytest.mark.own_stack, pytest.mark.slow]

TRIED = ("test_commands.py", "test_keys_and_projects.py")
AS_COMPOSED = {
    "trusted_proxies": "127.0.0.0/8",
    "webhook_allow_cidrs": "127.0.0.0/8",
    "webhook_allow_http": True,
    "kill_grace_s": 0.5,
}


@pytest.fixture
def one_by_one(postgres: Postgres, valkey: Valkey, tmp_path: Path) -> Iterator[Target]:
    with (
        fresh_database(postgres) as url,
        functions_alone(url, valkey.url, tmp_path, **AS_COMPOSED) as functions,
    ):
        functions["runner"].module = "rdev.platform.resident"
        starting = [each.begin() for each in functions.values()]
        for started in starting:
            started()
        ports = {name: functions[name].port for name in FUNCTIONS}
        with gateway(ports, tmp_path) as address:
            yield Target(address, functions["keys"].key)


def test_the_end_to_end_tests_pass_against_functions_behind_the_gateway(
    one_by_one: Target, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text(one_by_one.admin_key)
    tests = [f"tests/e2e/{name}" for name in TRIED]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests],
        env={
            **os.environ,
            "RDEV_E2E_URL": one_by_one.base_url,
            "RDEV_E2E_KEY_FILE": str(key),
        },
        cwd=SOURCE_ROOT,
        capture_output=True,
        timeout=170,
        check=False,
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    assert " passed" in said
    assert " skipped" not in said
