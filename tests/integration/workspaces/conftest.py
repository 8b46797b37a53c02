"""A local workspace a test, with each shell that this machine has."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.workspaces.place import SHELLS, Place, make_place


@pytest.fixture(autouse=True)
def alone_on_this_machine() -> Iterator[None]:
    """The ids of these commands are the same in every run, and processes are found and killed by
    them: of two runs at once, one waits."""
    fd = os.open(tempfile.gettempdir(), os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@pytest.fixture(params=list(SHELLS))
def shell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return SHELLS[request.param]


@pytest.fixture
def place(tmp_path: Path, shell: tuple[str, ...]) -> Iterator[Place]:
    yield from make_place(tmp_path, shell)


@pytest.fixture
def one_place(tmp_path: Path) -> Iterator[Place]:
    """For what does not depend on the shell."""
    yield from make_place(tmp_path, next(iter(SHELLS.values())))
