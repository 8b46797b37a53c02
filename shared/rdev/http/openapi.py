"""The API's description as it is sent. Making it takes an eighth of a second and all models, so an
image keeps it; a checkout makes it when it is first asked for.

    python -m rdev.http.openapi        keeps it in this environment, as the Dockerfile does
"""

import sys
from functools import lru_cache
from pathlib import Path

KEPT = Path(sys.prefix, "share", "rdev", "openapi.json")
"""Of the environment, not of the checkout: only an environment whose code stays as it is has it."""


@lru_cache(maxsize=1)
def as_json() -> bytes:
    if KEPT.exists():
        return KEPT.read_bytes()
    from rdev.http.operations.document import as_json as made

    return made()


def keep() -> None:
    from rdev.http.operations.document import as_json as made

    KEPT.parent.mkdir(parents=True, exist_ok=True)
    KEPT.write_bytes(made())


if __name__ == "__main__":
    keep()
