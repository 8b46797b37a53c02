"""What schemathesis loads in test_openapi_conformance.py: each request from another address.

Else the slowdown of failed attempts, which it makes by the hundred, is all that is measured.
"""

import os
from itertools import count
from typing import Any

import schemathesis

KEPT = os.environ["RDEV_TEST_KEPT_KEYS"].split(",")
"""Those that the test itself needs: ids are found in lists, and keys revoked by them."""
_numbers = count(1)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    number = next(_numbers)
    if case.operation.path == "/projects" and isinstance(case.body, dict):
        url = case.body.get("git_url")
        if isinstance(url, str) and "://" in url:
            case.body["git_url"] = None  # nothing is cloned from anywhere
    if isinstance(case.body, dict) and isinstance(limits := case.body.get("limits"), dict):
        for name in ("memory_mb", "processes"):
            limits.pop(name, None)  # whether they can be held is the machine's to say
    if case.path_parameters.get("key_id") in KEPT:
        case.path_parameters["key_id"] = "key-1"
    case.headers["X-Forwarded-For"] = f"10.{number >> 8 & 255}.{number & 255}.1"
