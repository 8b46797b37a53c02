"""What is made once for all workers of a run, and removed by the last of them."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def made_once(
    name: str, make: Callable[[Path], None], temporary: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder that everybody can read, as `make` has filled it. To be left as it is, and used by
    a fixture of the whole session: who has left may have been the last."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    folder = Path("/var/tmp") / f"rdev-{name}-{run or os.urandom(8).hex()}"
    base = temporary.getbasetemp()
    lock = (base.parent if run else base) / f"{name}.lock"
    mine = folder / f"user-{os.getpid()}"
    with _locked(lock):
        made = folder / "made"
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            folder.chmod(0o755)
            try:
                make(folder)
            except BaseException:
                shutil.rmtree(folder)
                raise
            made.touch()
        mine.touch()
    try:
        yield folder
    finally:
        with _locked(lock):
            mine.unlink()
            if not any(folder.glob("user-*")):
                shutil.rmtree(folder)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
