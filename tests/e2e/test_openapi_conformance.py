"""The running system and its OpenAPI document agree, over thousands of generated requests.

On a stack of its own whose runner is stopped (SIGSTOP: it is not started again, and takes no
command), so that no generated command runs. Once with ids of things that are there, once with
whatever the generator thinks of. schemathesis is run as anybody would run it; its key comes by its
environment, since process lists are watched for keys here.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from http_client import Http
from live_stack import Stack, running_stack

pytestmark = pytest.mark.own_stack

SEED = "4"
TESTS = Path(__file__).parents[1]
ENOUGH_S = 900
CONFIG = """
headers = { X-API-Key = "${RDEV_TEST_KEY}" }
request-timeout = 30.0
generation.with-security-parameters = false
generation.max-examples = {examples}

[checks]
# 413: a list that is too long may make the body too large first.
negative_data_rejection.expected-statuses = ["400", "401", "403", "404", "409", "413", "415", "5xx"]

# Which arguments git takes is no matter of a schema: a generated list is mostly no call of git.
[[operations]]
include-operation-id = "submit_git"
[operations.checks]
positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409"]

# Each waits two seconds for the runner, which is stopped.
[[operations]]
include-operation-id = "metrics"
[operations.generation]
max-examples = 2

# Nor what base64 is.
[[operations]]
include-operation-id = "send_input"
[operations.checks]
positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409"]

# Nor how many bytes there are; another unit than bytes is a mistake.
[[operations]]
include-operation-id = "get_output"
[operations.checks]
positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "410", "416"]

# Nor what an address is and which may be called, which headers may be set there, what a good secret
# is, and which parameters belong together.
[[operations]]
include-operation-id = [
    "create_webhook", "update_webhook", "rotate_webhook",
    "create_key", "list_audit", "verify_audit",
]
[operations.checks]
positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409"]
"""
EXISTING = """
[parameters]
"path.project_id" = "demo"
"path.command_id" = "{command}"
"path.key_id" = "{key}"
"path.endpoint_id" = "{endpoint}"
"""


# Streams end after a second, so that nobody waits for them; the queue takes it all; the address is
# what the hooks say.
QUIET = {
    "sse_max_age_s": 1,
    "queue_depth": 1_000_000,
    "request_timeout_s": 5,
    "trusted_proxies": "127.0.0.1",
}


@pytest.fixture(scope="module")
def quiet_stack() -> Iterator[Stack]:
    with running_stack(**QUIET) as stack:
        yield stack


@pytest.fixture(scope="module")
def config(quiet_stack: Stack) -> Iterator[dict[str, str]]:
    """The two configurations, made from things that are there before the runner is stopped."""
    api = quiet_stack.key("admin")
    things = {
        "command": api.finished("demo", "printf 'hello\\n'; printf 'oh\\n' >&2")["id"],
        "key": quiet_stack.key("projects:read").key_id,
        "endpoint": _endpoint(api),
    }
    runner = quiet_stack.pids("runner")
    for pid in runner:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield {"any": CONFIG, "existing": CONFIG + EXISTING.format(**things)}
    finally:
        for pid in runner:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def keys(quiet_stack: Stack) -> dict[str, str]:
    """The key that is used; it and the stack's own stay, whatever is generated."""
    used = quiet_stack.key("admin")
    kept = [used.key_id, *(key["id"] for key in quiet_stack.admin.get("/keys").data)]
    return {"RDEV_TEST_KEY": str(used.secret), "RDEV_TEST_KEPT_KEYS": ",".join(kept)}


def _endpoint(api: Http) -> str:
    made = api.post("/webhooks", {"url": "https://example.com/", "paused": True})
    return str(made.data["id"]) if made.status == 201 else "wh-1"


@pytest.mark.slow
@pytest.mark.timeout(ENOUGH_S + 60)
@pytest.mark.parametrize(("ids", "examples"), [("any", "15"), ("existing", "25")])
def test_the_system_does_what_its_document_says(
    quiet_stack: Stack,
    config: dict[str, str],
    keys: dict[str, str],
    ids: str,
    examples: str,
    tmp_path: Path,
) -> None:
    (tmp_path / "schemathesis.toml").write_text(config[ids].replace("{examples}", examples))
    program = Path(sys.executable).with_name("schemathesis")
    told = ["--config-file", str(tmp_path / "schemathesis.toml"), "--no-color", "run"]
    told += [f"{quiet_stack.base_url}/openapi.json", "--checks", "all", "--seed", SEED]
    told += ["--phases", "examples,coverage,fuzzing"]
    told += ["--generation-deterministic", "--no-shrink"]
    # One worker: Python 3.11 counts the depth of its parser for all threads at once, and fails now
    # and then (SystemError) where two of hypothesis' parse code.
    told += ["--continue-on-failure", "--suppress-health-check", "all", "--workers", "1"]
    done = subprocess.run(
        [program, *told],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": str(TESTS),
            "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
            **keys,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ENOUGH_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    generated = re.search(r"(\d+) (?:test cases )?generated", done.stdout)
    assert generated, done.stdout[-2000:]
    assert int(generated[1]) > 1000
