"""`rdev keys bootstrap`: an admin key for who has the database, without asking the API.

In an image, which has no `rdev` command: `python -m rdev.platform.bootstrap [--recover]`."""

import os
import sys
from pathlib import Path

from rdev.errors import RdevError
from rdev.platform.problems import CannotStart

_GIVEN = ("RDEV_DATABASE_URL", "RDEV_DATABASE_URL_FILE")


def bootstrap(home: Path, *, recover: bool) -> str:
    """The secret of the first admin key; with `recover` of another one, whatever keys there are.
    In the database that RDEV_DATABASE_URL names, else in the one of a running `rdev up`. Raises
    CannotStart, which says what to do."""
    if not any(name in os.environ for name in _GIVEN):
        from rdev.platform.layout import find
        from rdev.platform.parts import Stores
        from rdev.platform.up import configure

        layout = find(home)
        configure(layout, Stores.of(layout))
    from rdev import wiring

    try:
        secret = wiring.keys().recover() if recover else wiring.keys().create_first()
    except RdevError as exc:
        raise CannotStart(f"{exc.message} (Is `rdev up` running?)") from exc
    if secret is None:
        raise CannotStart(
            "There are API keys already, so nothing was made. "
            "If the admin's is lost: rdev keys bootstrap --recover"
        )
    return secret


if __name__ == "__main__":
    try:
        print(bootstrap(Path(".rdev"), recover="--recover" in sys.argv[1:]))  # noqa: T201
    except CannotStart as exc:
        sys.exit(f"rdev: {exc}")
