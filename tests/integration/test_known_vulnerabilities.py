"""No package of the lock has a known vulnerability for which a mended version is out.

Asks PyPI, where it offers advisories: the one test that needs the internet. It is skipped where
PyPI cannot be reached or is a mirror without them. A vulnerability without a remedy does not count:
nobody could land a change until there is one.
"""

import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from rdev.config import SOURCE_ROOT

REGISTRY = "https://pypi.org"
TIMEOUT_S = 20.0
# An advisory that does not concern us, and why.
ACCEPTED: dict[str, str] = {}


@dataclass(frozen=True)
class Finding:
    package: str
    version: str
    advisory: str
    mended_in: tuple[str, ...]


def locked() -> list[tuple[str, str]]:
    lock = tomllib.loads((SOURCE_ROOT / "uv.lock").read_text())
    return [(p["name"], p["version"]) for p in lock["package"] if "registry" in p["source"]]


def findings_in(package: str, version: str, document: Any) -> Iterator[Finding]:
    for known in document.get("vulnerabilities") or ():
        names = {known["id"], *known.get("aliases", ())}
        if not known.get("withdrawn") and names.isdisjoint(ACCEPTED):
            yield Finding(package, version, known["id"], tuple(known.get("fixed_in") or ()))


def ask(client: httpx.Client, package: str, version: str) -> list[Finding]:
    answer = client.get(f"/pypi/{package}/{version}/json")
    if answer.status_code != 200:  # one that was yanked, say
        return []
    return list(findings_in(package, version, answer.json()))


def test_the_lock_has_no_known_vulnerability_with_a_remedy() -> None:
    with httpx.Client(base_url=REGISTRY, timeout=TIMEOUT_S) as client:
        try:
            offered = client.get(f"/pypi/flask/{dict(locked())['flask']}/json")
            if offered.status_code != 200 or "vulnerabilities" not in offered.text:
                pytest.skip(f"this registry offers no advisories: it said {offered.status_code}")
            with ThreadPoolExecutor(8) as pool:
                asked = pool.map(lambda each: ask(client, *each), locked())
                found = [finding for findings in asked for finding in findings]
        except httpx.HTTPError as exc:
            pytest.skip(f"the registry cannot be reached: {exc!r}")
    assert [finding for finding in found if finding.mended_in] == []


def test_an_advisory_is_read_as_the_registry_writes_it() -> None:
    document = {
        "vulnerabilities": [
            {"id": "PYSEC-1", "aliases": ["CVE-1"], "fixed_in": ["2.0"], "withdrawn": None},
            {"id": "PYSEC-2", "aliases": [], "fixed_in": ["2.0"], "withdrawn": "2026-01-01"},
            {"id": "PYSEC-3", "aliases": [], "fixed_in": []},
        ]
    }
    assert [(f.advisory, f.mended_in) for f in findings_in("a", "1", document)] == [
        ("PYSEC-1", ("2.0",)),
        ("PYSEC-3", ()),
    ]


def test_the_lock_is_read() -> None:
    assert {"flask", "gunicorn", "pydantic"} <= {name for name, _ in locked()}
