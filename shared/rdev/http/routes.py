"""Which function serves which path: the one table that the embedded gateway, the manifests and
the documentation follow."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Route:
    """`pattern` is a path with `{names}`; `**` at its end takes all that is below."""

    pattern: str
    function: str

    def regex(self) -> str:
        """The pattern as a regular expression over the whole path."""
        escaped = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(self.pattern))
        return escaped.replace(r"/\*\*", "(?:/.*)?")


# The first that matches.
ROUTES = (
    Route("/keys/**", "keys"),
    Route("/projects/{id}/events/**", "events"),
    Route("/projects/{id}/shell", "exec"),
    Route("/projects/{id}/git", "exec"),
    Route("/projects/{id}/claude", "exec"),
    Route("/projects/{id}/commands/**", "exec"),
    Route("/queue", "exec"),
    Route("/projects/**", "projects"),
    Route("/webhooks/**", "webhooks"),
    Route("/audit/**", "audit"),
    Route("/**", "system"),
)

FUNCTIONS = ("keys", "projects", "exec", "events", "webhooks", "audit", "system")
"""The functions of the public API; the runner has no public path."""
