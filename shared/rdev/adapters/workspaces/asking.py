"""Asking the file system."""

from collections.abc import Iterator
from contextlib import contextmanager

from rdev.errors import WorkspaceUnavailable


@contextmanager
def asking(what: str) -> Iterator[None]:
    """One that does not answer as it should makes the workspace unavailable."""
    try:
        yield
    except OSError as exc:
        raise WorkspaceUnavailable(f"{what}: {exc}") from exc
