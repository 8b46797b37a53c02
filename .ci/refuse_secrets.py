"""Refuses what must not be committed: a Secret that is filled in, and a key of rdev's own.

    .venv/bin/python .ci/refuse_secrets.py FILE…

Before each commit, by pre-commit; what other services call a secret is detect-secrets' part.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rdev.domain.key_secrets import well_formed

TO_FILL_IN = re.compile(r"CHANGE-ME|^redis\.example\.com:\d+$")
KEY = re.compile(r"rdev_[A-Za-z0-9]{20,}")


def secrets_in(path: Path) -> Iterator[str]:
    text = path.read_text(errors="replace")
    if any(well_formed(found) for found in KEY.findall(text)):
        yield "an API key of rdev's"
    if path.suffix in (".yaml", ".yml") and "kind: Secret" in text:
        yield from _filled_in(text)


def _filled_in(text: str) -> Iterator[str]:
    try:
        documents: list[Any] = list(yaml.safe_load_all(text))
    except yaml.YAMLError:
        yield "a Secret that cannot be read"
        return
    for each in documents:
        if not isinstance(each, dict) or each.get("kind") != "Secret":
            continue
        values = {**(each.get("data") or {}), **(each.get("stringData") or {})}
        yield from (
            f"a value for {name}"
            for name, value in values.items()
            if not TO_FILL_IN.search(str(value))
        )


if __name__ == "__main__":
    found = [f"{name}: {what}" for name in sys.argv[1:] for what in secrets_in(Path(name))]
    sys.exit("\n".join([*found, "Take it out; if it is real, replace it too."]) if found else 0)
