"""What the suite is run against: workspaces on this machine, once with each shell that it has.

A target knows nothing of the tests, and the tests know nothing of it but `Target`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from integration.workspaces.place import SHELLS
from rdev.adapters.workspaces.local import LocalWorkspaces
from rdev.ports import Workspaces

DRAIN_S = 0.5


@dataclass(frozen=True)
class Target:
    """Workspaces as one process of rdev has them, and a way to have them as another one does."""

    workspaces: Workspaces
    another: Callable[[], AbstractContextManager[Workspaces]]


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


TARGETS: dict[str, Callable[[Path], AbstractContextManager[Target]]] = {
    f"local-{name}": partial(on_this_machine, shell) for name, shell in SHELLS.items()
}
