"""Makes or deletes a project as a function does, in a process of its own, for tests that kill it.
Its settings are those of rdev, in the environment; fail points too.

`deleting_process.py create|delete PROJECT {"git_url": …}`"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rdev import wiring
from rdev.adapters.workspaces.local import LocalWorkspaces
from rdev.config import settings
from rdev.domain.callers import rdev_itself
from rdev.services.projects import Projects
from rdev.wiring.parts import now
from rdev.wiring.stores import database


@contextmanager
def at_it(
    verb: str, project: str, home: Path, settings: dict[str, str], **wish: Any
) -> Iterator["subprocess.Popen[bytes]"]:
    with running(__file__, home, settings, verb, project, json.dumps(wish)) as process:
        yield process


@contextmanager
def running(
    program: str | Path, home: Path, settings: dict[str, str], *arguments: str
) -> Iterator["subprocess.Popen[bytes]"]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    own = {f"RDEV_{name}": value for name, value in settings.items()}
    process = subprocess.Popen([sys.executable, str(program), *arguments], env=kept | own, cwd=home)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def projects() -> Projects:
    if settings().workspaces == "kubernetes":
        return wiring.projects()
    folders = LocalWorkspaces(
        settings().workspaces_dir, settings().commands_dir, drain_s=0.1, git_protocols=("file",)
    )
    return Projects(database().transaction, folders, now=now)


if __name__ == "__main__":
    verb, project, wish = sys.argv[1:]
    getattr(projects(), verb)(rdev_itself("tests"), project, **json.loads(wish))
