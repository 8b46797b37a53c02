"""stack.yml, held to a schema of our own: faas-cli lets what it does not know vanish."""

import copy
import re
from typing import Any

import pytest
import yaml

from openfaas_stack import problems
from rdev.config import SOURCE_ROOT

STACK = yaml.safe_load((SOURCE_ROOT / "stack.yml").read_text())
DOCS = (SOURCE_ROOT / "docs/operations/openfaas.md").read_text()
GONE = object()


def test_the_stack_holds_to_its_schema_and_to_every_rule() -> None:
    assert problems(STACK) == []


def test_every_secret_is_in_the_docs() -> None:
    named = {each for function in STACK["functions"].values() for each in function["secrets"]}
    made = set(re.findall(r"faas-cli secret create (\S+)", DOCS))
    assert made == named


BROKEN: dict[str, tuple[list[str], Any]] = {
    "no function": (["functions", "rdev-audit"], GONE),
    "a function that is none of ours": (["functions", "rdev-other"], "rdev-keys"),
    "build arguments as a list": (["functions", "rdev-keys", "build_args"], ["FUNCTION=keys"]),
    "another function's image": (
        ["functions", "rdev-keys", "image"],
        "registry.example.com/rdev/openfaas-exec:0.1.0",
    ),
    "an image without a version": (["functions", "rdev-keys", "image"], "rdev/openfaas-keys"),
    "an environment as a list": (["functions", "rdev-keys", "environment"], ["A=b"]),
    "a number in the environment": (["functions", "rdev-keys", "environment", "prefix_logs"], 1),
    "a misspelt field": (["functions", "rdev-keys", "enviroment"], {}),
    "a misspelt setting": (["functions", "rdev-keys", "environment", "RDEV_PEPER"], "x"),
    "a misspelt label": (["functions", "rdev-keys", "labels", "com.openfaas.scale.mn"], "1"),
    "a secret that is not mounted": (["functions", "rdev-keys", "secrets"], ["rdev-pepper"]),
    "the cluster's key for who needs none": (
        ["functions", "rdev-keys", "secrets"],
        [*STACK["functions"]["rdev-keys"]["secrets"], "rdev-kubeconfig"],
    ),
    "the watchdog's own time for streams": (
        ["functions", "rdev-events", "environment", "write_timeout"],
        GONE,
    ),
    "less time than the drain": (
        ["functions", "rdev-runner", "environment", "exec_timeout"],
        "200s",
    ),
    "no sweep": (["functions", "rdev-runner", "annotations", "topic"], GONE),
    "a sweep that is late": (
        ["functions", "rdev-runner", "annotations", "schedule"],
        "*/5 * * * *",
    ),
    "a sweep that keeps from zero": (
        ["functions", "rdev-webhooks", "annotations", "schedule"],
        "*/1 * * * *",
    ),
    "a sweep for who does nothing": (
        ["functions", "rdev-keys", "annotations", "topic"],
        "cron-function",
    ),
    "a call that waits for the drain": (
        ["functions", "rdev-exec", "environment", "RDEV_BROKER_URL"],
        "http://gateway.openfaas:8080/function/rdev-{function}",
    ),
    "more requests than threads": (
        ["functions", "rdev-keys", "labels", "com.openfaas.scale.target"],
        "17",
    ),
    "a root that can be written": (
        ["functions", "rdev-keys", "readonly_root_filesystem"],
        False,
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_is_wrong_is_found(how: str) -> None:
    broken = copy.deepcopy(STACK)
    (*way, last), value = BROKEN[how]
    place = broken
    for step in way:
        place[step] = copy.deepcopy(place[step])  # the file's anchors are shared
        place = place[step]
    if value is GONE:
        del place[last]
    else:
        place[last] = broken["functions"][value] if value == "rdev-keys" else value
    assert problems(broken)
