"""Which pod, and which life of it, a command is in."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PodRef:
    """A pod, told from its namesakes: one that was replaced has another `uid`, one that was
    restarted in place another `container_started`."""

    namespace: str
    name: str
    uid: str
    container: str
    container_started: str
    """When the container's process began, and after how many before it, as the API says it: to the
    second alone two would be one."""
