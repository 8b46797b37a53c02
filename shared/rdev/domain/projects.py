"""Projects: the thing a user names. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rdev.errors import Conflict

# A DNS label (RFC 1123, section 2.1): it becomes a pod's and a folder's name.
PROJECT_ID = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Deletion:
    """Of a project that is being deleted: who asked for it first, as the audit log is to say."""

    since: datetime
    """Tells it from any other deletion of a project of that name."""
    key_id: str
    key_name: str
    address: str | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Project:
    """A project's record; `env` goes into each of its commands and is never shown."""

    id: str
    created_at: datetime
    git_url: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    max_concurrent: int | None = None
    """How many of its commands may run at once, whoever asks; None: no limit of its own."""
    template: str | None = None
    """What its workspace was made from; None: the default, or it was made by others."""
    stopped: bool = False
    """Whether its workspace is meant to be stopped."""
    settled: bool = True
    """Whether its workspace has been told so; False: that is on its way, or was interrupted."""
    setup_command: str | None = None
    """The command that fills its workspace; the others wait for its end."""
    changed_at: datetime | None = None
    """When its workspace was started or stopped, if not long ago. Told by `lock` alone."""
    deletion: Deletion | None = None
    """It takes no command any more, and goes once its workspace is gone."""

    def refuse_if_deleting(self) -> None:
        """Raises Conflict."""
        if self.deletion is not None:
            raise Conflict(f"This project is being deleted: {self.id}")
