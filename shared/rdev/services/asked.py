"""Where a command may have been started: what a workspace that knows nothing of it must still be
for that to mean that it never began."""

from dataclasses import dataclass, replace

from rdev.domain.commands import Command
from rdev.errors import CommandRefused
from rdev.ports import Workspace

TRACE_GONE = "What its workspace knew of it is gone."
_FILES_GONE = "Its workspace's files are others than when it was to start; it may have begun."
_STARTED_ANEW = (
    "Its machine was started anew, or is another, since it was to start; it may have begun."
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The first life of its workspace's files, and boot of its machine, in which somebody may have
    asked for its start. None: nobody did yet, or that workspace has none."""

    life: str | None
    boot_id: str | None

    @classmethod
    def of(cls, command: Command) -> "Asked":
        return cls(command.workspace_life, command.boot_id)

    def also(self, life: str, boot_id: str | None) -> "Asked":
        return replace(self, life=self.life or life, boot_id=self.boot_id or boot_id)

    def lost_with(self, workspace: Workspace, command_id: str) -> str | None:
        """How the trace of its start may have been lost, in a sentence; None: it was not. Of a
        command that nobody has seen to start: what is lost so will never start any more. Raises
        WorkspaceUnavailable."""
        if self._files_are_others(workspace):
            return workspace.loss(command_id) or _FILES_GONE
        if self._boot_is_another(workspace) and workspace.forestall(command_id):
            return workspace.loss(command_id) or _STARTED_ANEW
        return None

    def _files_are_others(self, workspace: Workspace) -> bool:
        if self.life is None:
            return False
        try:
            return workspace.life() != self.life
        except CommandRefused:  # nothing can run there now
            return True

    def _boot_is_another(self, workspace: Workspace) -> bool:
        """Tokens wait for no disk: a power cut takes along those of the last seconds."""
        if self.boot_id is None:
            return False
        return workspace.boot_id() not in (None, self.boot_id)
