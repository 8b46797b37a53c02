"""Projects: the thing a user names. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

# A DNS label (RFC 1123, section 2.1): it becomes a pod's and a folder's name.
PROJECT_ID = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Project:
    """A project's record; `env` goes into each of its commands and is never shown."""

    id: str
    created_at: datetime
    git_url: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    max_concurrent: int | None = None
    """How many of its commands may run at once, whoever asks; None: no limit of its own."""
