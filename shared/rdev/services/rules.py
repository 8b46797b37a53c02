"""For how long a runner waits, in which case, of a command and of its workspace."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """For every command."""

    kill_grace_s: float
    wait_s: float = 0.5
    """How long at most between two looks at a command that is quiet."""
    workspace_s: float = 600.0
    """How long a command waits in the queue for its workspace to come up."""
    gone_s: float = 15.0
    """After how long a workspace that is not there is gone, with the commands in it."""
    down_s: float = 300.0
    """For how long one must not have run before what ran in it is given up."""
    away_share: float = 3.0
    """How many times as long as a look at one that does not answer took, it is left alone then."""
    aside_s: float = 10.0
    """For how long one that is there must not have answered before its commands use no slots."""
    flush_s: float = 10.0
    """How long its end waits at most for its output to be on the disk."""
    silent_s: float = 60.0
    """For how long one that is there must not have answered before a command is given up that had
    to be over."""
