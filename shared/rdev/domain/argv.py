"""What a command runs, by kind. Only `shell` ever meets a shell. Pure."""

from collections.abc import Mapping
from typing import Any

from rdev.domain import git_arguments
from rdev.domain.commands import Claim, Kind, Launch


def argv_of(kind: Kind, spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The program and its arguments, final."""
    if kind is Kind.SHELL:
        # Not a login shell: `bash -lc` costs a hundred milliseconds of profile scripts.
        return ("sh", "-c", spec["command"])
    if kind is Kind.GIT:
        return ("git", *git_arguments.settings(spec["args"]), *spec["args"])
    return ("claude", *_claude_options(spec))


def stdin_of(kind: Kind, spec: Mapping[str, Any], stdin: bytes) -> bytes:
    """Claude's prompt goes in by stdin, where no process list shows it."""
    return str(spec["prompt"]).encode() if kind is Kind.CLAUDE else stdin


def launch_of(claim: Claim, env: Mapping[str, str], life: str | None) -> Launch:
    """What its workspace is told to start, in this life of its files."""
    command = claim.command
    limits = command.spec.get("limits", {})
    return Launch(
        command_id=command.id,
        project_id=command.project_id,
        argv=argv_of(command.kind, command.spec),
        env=env,
        cwd=command.spec.get("cwd", "."),
        stdin=stdin_of(command.kind, command.spec, claim.stdin),
        stdin_open=command.spec.get("stdin_open", False),
        memory_mb=limits.get("memory_mb"),
        processes=limits.get("processes"),
        life=life,
    )


def _claude_options(spec: Mapping[str, Any]) -> list[str]:
    options = ["--print", "--output-format", "stream-json", "--verbose"]
    if spec.get("session_id"):
        options += ["--resume", spec["session_id"]]
    if spec.get("model"):
        options += ["--model", spec["model"]]
    if spec.get("max_turns"):
        options += ["--max-turns", str(spec["max_turns"])]
    if spec.get("allowed_tools"):
        options += ["--allowedTools", ",".join(spec["allowed_tools"])]
    if spec.get("permission_mode"):
        options += ["--permission-mode", spec["permission_mode"]]
    if spec.get("max_cost_usd"):
        options += ["--max-budget-usd", str(spec["max_cost_usd"])]
    return options
