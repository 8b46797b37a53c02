"""What was found, for programs. Pure."""

import json
from collections.abc import Sequence

from rdev.doctor.findings import Finding, Level


def failed(found: Sequence[Finding]) -> bool:
    return any(each.level is Level.FAIL for each in found)


def as_json(found: Sequence[Finding]) -> str:
    """`status` is the worst of all: ok, warn or fail."""
    levels = {each.level for each in found}
    worst = next((level for level in (Level.FAIL, Level.WARN) if level in levels), Level.OK)
    findings = [
        {
            "where": each.where,
            "check": each.check,
            "status": each.level.value,
            "found": each.found,
            "todo": each.todo or None,
        }
        for each in found
    ]
    return json.dumps({"status": worst.value, "findings": findings}, indent=2, ensure_ascii=False)
