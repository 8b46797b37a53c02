"""`rdev keys bootstrap`: an admin key for who has the database, without asking the API."""

import os
from pathlib import Path

from rdev.errors import RdevError
from rdev.platform.layout import find
from rdev.platform.parts import Stores
from rdev.platform.problems import CannotStart
from rdev.platform.up import configure


def bootstrap(home: Path, *, recover: bool) -> str:
    """The secret of the first admin key; with `recover` of another one, whatever keys there are.
    In the database that RDEV_DATABASE_URL names, else in the one of a running `rdev up`. Raises
    CannotStart, which says what to do."""
    if "RDEV_DATABASE_URL" not in os.environ:
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
