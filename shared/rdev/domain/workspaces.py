"""Workspaces as they are seen from outside: their states, and how they went away. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """What a workspace is doing."""

    RUNNING = "running"
    """Commands can start in it."""
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    """To zero, with its files kept. The next command starts it."""
    FAILING = "failing"
    """It does not come up by itself; `reason` and `message` say why."""
    MISSING = "missing"
    """There is none: somebody took it away."""
    UNKNOWN = "unknown"
    """Nobody could be asked yet."""


@dataclass(frozen=True, slots=True)
class WorkspaceState:
    """One workspace's state, and when that was known for certain."""

    state: State
    reason: str | None = None
    """A word for programs, such as `image_pull`; docs/kubernetes.md has them all."""
    message: str | None = None
    """The same for people."""
    observed_at: datetime | None = None
    """The last moment at which this held for certain. None: it always holds."""
    stale: bool = False
    """Whether that was too long ago to be relied on."""

    @property
    def running(self) -> bool:
        return self.state is State.RUNNING


ALWAYS_RUNNING = WorkspaceState(State.RUNNING)


@dataclass(frozen=True, slots=True)
class Found:
    """A workspace that is there, whoever made it."""

    project_id: str
    ours: bool
    """Made by rdev. One that others made is only used: never created, stopped or deleted."""
