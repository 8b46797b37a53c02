"""A target of the suite: the workspaces that it is run against.

A target knows nothing of the tests, and the tests know nothing of it but `Target`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rdev.adapters.workspaces.local import LocalWorkspaces
from rdev.ports import Workspaces

DRAIN_S = 0.5


@dataclass(frozen=True)
class Target:
    """Workspaces as one process of rdev has them, and a way to have them as another one does.
    `make` and `unmake`: how a project comes about where rdev does not make it."""

    workspaces: Workspaces
    another: Callable[[], AbstractContextManager[Workspaces]]
    make: Callable[[str], None] | None = None
    unmake: Callable[[str], None] | None = None

    @contextmanager
    def project(self, name: str) -> Iterator[None]:
        if self.make:
            self.make(name)
        else:
            self.workspaces.create(name, git_url=None)
        try:
            yield
        finally:
            if self.unmake:
                self.unmake(name)
            else:
                self.workspaces.delete(name, lambda: None)


@contextmanager
def on_this_machine(shell: tuple[str, ...], folder: Path) -> Iterator[Target]:
    @contextmanager
    def made() -> Iterator[LocalWorkspaces]:
        workspaces = LocalWorkspaces(folder / "w", folder / "c", drain_s=DRAIN_S, shell=shell)
        try:
            yield workspaces
        finally:
            workspaces.close()

    with made() as workspaces:
        yield Target(workspaces, made)
